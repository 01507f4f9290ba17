//! `index.yaml` of a Helm repository: of each chart the versions, where they are and their digests. Read as a stream of events, so that
//! an index of many megabytes costs what is kept of it (research/pains.md S-14).
use std::collections::BTreeMap;
use std::io::BufRead;
use std::panic::{AssertUnwindSafe, catch_unwind};

use libyaml_safer::{EventData, Parser};
use serde::{Deserialize, Serialize};

/// Versions of all charts together.
const VERSIONS_MAX: usize = 500_000;
/// URLs of one version that are kept.
const URLS_MAX: usize = 4;
/// Nesting of what is passed over.
const DEPTH_MAX: usize = 64;
/// Longer texts are left out.
const TEXT_BYTES_MAX: usize = 4096;

/// What is kept of an index.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Index {
    pub(crate) charts: BTreeMap<String, Vec<Release>>,
}

/// One version of a chart.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Release {
    #[serde(rename = "v")]
    pub(crate) version: String,
    #[serde(rename = "u")]
    pub(crate) urls: Vec<String>,
    /// SHA-256 in hex; empty when the index does not say.
    #[serde(rename = "d", default, skip_serializing_if = "String::is_empty")]
    pub(crate) digest: String,
}

impl Index {
    /// Reads one. The error says what is wrong with it.
    pub(crate) fn read(mut text: impl BufRead) -> Result<Self, String> {
        // libyaml-safer has reachable panics in its scanner (research/deps.md section 6); they are refusals here.
        catch_unwind(AssertUnwindSafe(|| {
            let mut parser = Parser::new();
            parser.set_input(&mut text);
            Reader { parser, versions: 0 }.index()
        }))
        .unwrap_or_else(|_| Err("the index cannot be scanned".to_owned()))
    }

    /// The release of a version: as it is written, else the one that is the same version in other words (`v1.2.3`).
    pub(crate) fn release(&self, chart: &str, version: &str) -> Option<&Release> {
        let releases = self.charts.get(chart)?;
        let same = || {
            let versions: Vec<String> = releases.iter().map(|release| release.version.clone()).collect();
            let found = tako_engine::versions::highest(&versions, version)?;
            releases.iter().find(|release| release.version == found)
        };
        releases.iter().find(|release| release.version == version).or_else(same)
    }
}

struct Reader<R: std::io::BufRead> {
    parser: Parser<R>,
    versions: usize,
}

impl<R: std::io::BufRead> Reader<R> {
    fn next(&mut self) -> Result<EventData, String> {
        self.parser.parse().map(|event| event.data).map_err(|error| format!("the index is not valid YAML: {error}"))
    }

    fn index(mut self) -> Result<Index, String> {
        let mut index = Index::default();
        loop {
            match self.next()? {
                EventData::StreamStart { .. } | EventData::DocumentStart { .. } => {}
                EventData::MappingStart { .. } => break,
                _ => return Err("the index is no mapping".to_owned()),
            }
        }
        while let Some(key) = self.key()? {
            if key == "entries" {
                self.entries(&mut index)?;
            } else {
                self.skip()?;
            }
        }
        Ok(index)
    }

    fn entries(&mut self, index: &mut Index) -> Result<(), String> {
        if !self.enter()? {
            return Ok(());
        }
        while let Some(chart) = self.key()? {
            let mut releases = Vec::new();
            match self.next()? {
                EventData::SequenceStart { .. } => loop {
                    match self.next()? {
                        EventData::SequenceEnd => break,
                        EventData::MappingStart { .. } => releases.push(self.release()?),
                        other => self.rest_of(&other)?,
                    }
                    self.versions += 1;
                    if self.versions > VERSIONS_MAX {
                        return Err(format!("the index has more than {VERSIONS_MAX} versions"));
                    }
                },
                other => self.rest_of(&other)?,
            }
            releases.retain(|release| !release.version.is_empty());
            index.charts.entry(chart).or_default().extend(releases);
        }
        Ok(())
    }

    fn release(&mut self) -> Result<Release, String> {
        let mut release = Release::default();
        while let Some(key) = self.key()? {
            match key.as_str() {
                "version" => release.version = self.text()?,
                "digest" => release.digest = self.text()?.trim_start_matches("sha256:").to_ascii_lowercase(),
                "urls" => match self.next()? {
                    EventData::SequenceStart { .. } => loop {
                        match self.next()? {
                            EventData::SequenceEnd => break,
                            EventData::Scalar { value, .. } => {
                                if release.urls.len() < URLS_MAX && value.len() <= TEXT_BYTES_MAX {
                                    release.urls.push(value);
                                }
                            }
                            other => self.rest_of(&other)?,
                        }
                    },
                    other => self.rest_of(&other)?,
                },
                _ => self.skip()?,
            }
        }
        Ok(release)
    }

    /// The next key of a mapping; `None` at its end.
    fn key(&mut self) -> Result<Option<String>, String> {
        match self.next()? {
            EventData::MappingEnd => Ok(None),
            EventData::Scalar { value, .. } if value.len() <= TEXT_BYTES_MAX => Ok(Some(value)),
            _ => Err("the index has a key that is no short text".to_owned()),
        }
    }

    /// A scalar; anything else is as nothing.
    fn text(&mut self) -> Result<String, String> {
        match self.next()? {
            EventData::Scalar { value, .. } if value.len() <= TEXT_BYTES_MAX => Ok(value),
            other => self.rest_of(&other).map(|()| String::new()),
        }
    }

    /// Whether a mapping begins; what else is there is passed over.
    fn enter(&mut self) -> Result<bool, String> {
        match self.next()? {
            EventData::MappingStart { .. } => Ok(true),
            other => self.rest_of(&other).map(|()| false),
        }
    }

    fn skip(&mut self) -> Result<(), String> {
        let first = self.next()?;
        self.rest_of(&first)
    }

    /// Passes over the rest of what began with this event.
    fn rest_of(&mut self, first: &EventData) -> Result<(), String> {
        let mut depth = 0_usize;
        let mut count = |event: &EventData| -> Result<bool, String> {
            match event {
                // Also because the scanner takes time in proportion to the square of the depth.
                EventData::MappingStart { .. } | EventData::SequenceStart { .. } if depth == DEPTH_MAX => {
                    return Err(format!("the index is nested deeper than {DEPTH_MAX}"));
                }
                EventData::MappingStart { .. } | EventData::SequenceStart { .. } => depth += 1,
                EventData::MappingEnd | EventData::SequenceEnd => depth = depth.saturating_sub(1),
                EventData::Scalar { .. } | EventData::Alias { .. } => {}
                _ => return Err("the index ends too early".to_owned()),
            }
            Ok(depth == 0)
        };
        let mut done = count(first)?;
        while !done {
            let event = self.parser.parse().map_err(|error| format!("the index is not valid YAML: {error}"))?;
            done = count(&event.data)?;
        }
        Ok(())
    }
}
