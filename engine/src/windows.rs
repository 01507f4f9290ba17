//! Sync windows of a project: when syncs may begin and go on (Argo CD, user guide, "Sync Windows"). Pure: the time
//! is an argument, and time zones come from the database compiled in.
//!
//! A window is open from a time of its schedule for its duration, both on the wall clock of its zone, as in Argo CD:
//! a night window "from 01:00 for 4 h" ends when the clock shows 05:00, also in the nights of a clock change.
use std::sync::LazyLock;

use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone, TimeZoneDatabase};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::app::{Application, OperationState};
use crate::cron::Schedule;
use crate::{duration, glob};

/// Changes of windows looked through for one that changes the verdict; the caller looks again then.
const CHANGES_MAX: usize = 1000;

static ZONES: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);

shape! {
    /// One of a project's `syncWindows`.
    SyncWindow {
        /// `allow` or `deny`.
        #[serde(skip_serializing_if = "String::is_empty")]
        kind: String,
        /// When it opens: cron, five fields.
        #[serde(skip_serializing_if = "String::is_empty")]
        schedule: String,
        /// For how long.
        #[serde(skip_serializing_if = "String::is_empty")]
        duration: String,
        /// Globs of Application names.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        applications: Vec<String>,
        /// Globs of destination namespaces.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        namespaces: Vec<String>,
        /// Globs of destination clusters, by URL or name.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        clusters: Vec<String>,
        /// Syncs by hand pass.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        manual_sync: bool,
        /// The zone of the schedule; UTC when absent or not known.
        #[serde(skip_serializing_if = "String::is_empty")]
        time_zone: String,
        /// All of applications, namespaces and clusters that are given must match, not just one.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        and_operator: bool,
        /// An operation that was let in may go on.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        sync_overrun: bool,
    }
}

impl SyncWindow {
    /// Whether it is defined for this Application.
    pub fn concerns(&self, app: &Application) -> bool {
        let destination = &app.spec.destination;
        let any = |globs: &[String], values: &[Option<&str>]| {
            let values = || values.iter().flatten().filter(|value| !value.is_empty());
            globs.iter().any(|pattern| values().any(|value| glob::matches(pattern, value)))
        };
        let namespace = destination.namespace.as_deref().unwrap_or_default();
        let in_namespace = || self.namespaces.iter().any(|pattern| glob::matches(pattern, namespace));
        let clusters = [destination.name.as_deref(), destination.server.as_deref()];
        let answers = [
            (!self.applications.is_empty()).then(|| any(&self.applications, &[Some(&app.metadata.name)])),
            (!self.clusters.is_empty()).then(|| any(&self.clusters, &clusters)),
            (!self.namespaces.is_empty()).then(in_namespace),
        ];
        let mut given = answers.into_iter().flatten().peekable();
        if self.and_operator { given.peek().is_some() && given.all(|yes| yes) } else { given.any(|yes| yes) }
    }

    fn words(&self) -> String {
        let zone = if self.time_zone.is_empty() { "UTC" } else { &self.time_zone };
        format!("{} window '{}' for {} ({zone})", self.kind, self.schedule, self.duration)
    }
}

/// A window that has been read.
#[derive(Debug, Clone)]
struct Window<'a> {
    of: &'a SyncWindow,
    schedule: Schedule,
    length: SignedDuration,
    zone: TimeZone,
}

impl<'a> Window<'a> {
    fn read(of: &'a SyncWindow) -> Result<Self, String> {
        let bad_schedule = |problem| format!("cannot parse schedule '{}': {problem}", of.schedule);
        let schedule = Schedule::parse(&of.schedule).map_err(bad_schedule)?;
        let length = duration::parse_go(&of.duration).and_then(|length| SignedDuration::try_from(length).ok());
        let length = length.ok_or_else(|| format!("cannot parse duration '{}': write it as 1h30m", of.duration))?;
        let zone = match schedule.zone() {
            Some(name) => {
                ZONES.get(name).map_err(|_| bad_schedule(format!("provided bad location {name}: unknown time zone")))?
            }
            // Argo CD takes UTC for a name that it does not know.
            None => ZONES.get(&of.time_zone).unwrap_or(TimeZone::UTC),
        };
        Ok(Self { of, schedule, length, zone })
    }

    fn open(&self, now: Timestamp) -> bool {
        let wall = self.zone.to_datetime(now);
        let ends = |start: DateTime| start.checked_add(self.length).ok();
        self.schedule.previous(wall).and_then(ends).is_some_and(|end| end > wall)
    }

    /// The first instant after `now` at which it may open or close.
    fn next_change(&self, now: Timestamp) -> Option<Timestamp> {
        let wall = self.zone.to_datetime(now);
        let opens = self.schedule.next(wall);
        let closes = || self.schedule.next(wall.checked_sub(self.length).ok()?)?.checked_add(self.length).ok();
        let walls = [opens, closes()];
        let instants = walls.into_iter().flatten().flat_map(|at| self.instants(at));
        let clock_change = self.zone.following(now).next().map(|change| change.timestamp());
        instants.chain(clock_change).filter(|at| *at > now).min()
    }

    /// When the wall clock shows this: once, twice, or (in a gap, which is a clock change) never.
    fn instants(&self, wall: DateTime) -> impl Iterator<Item = Timestamp> + use<> {
        let offsets = match self.zone.to_ambiguous_timestamp(wall).offset() {
            AmbiguousOffset::Unambiguous { offset } => [Some(offset), None],
            AmbiguousOffset::Gap { .. } => [None, None],
            AmbiguousOffset::Fold { before, after } => [Some(before), Some(after)],
        };
        offsets.into_iter().flatten().filter_map(move |offset| offset.to_timestamp(wall).ok())
    }
}

/// Whether a sync may begin or go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// It may.
    pub allowed: bool,
    /// Why not, in words; empty when it may.
    pub reason: String,
    /// When it is worth looking again, if it may not.
    pub until: Option<Timestamp>,
}

impl Verdict {
    fn yes() -> Self {
        Self { allowed: true, reason: String::new(), until: None }
    }
}

/// The windows of a project that concern one Application.
#[derive(Debug, Clone)]
pub struct Windows<'a>(Vec<Window<'a>>);

impl<'a> Windows<'a> {
    /// Reads those that concern the Application. One that cannot be read stops every sync, as in Argo CD.
    pub fn of(windows: &'a [SyncWindow], app: &Application) -> Result<Self, String> {
        let read: Result<Vec<_>, String> =
            windows.iter().filter(|window| window.concerns(app)).map(Window::read).collect();
        read.map(Self).map_err(|problem| format!("invalid sync windows: {problem}"))
    }

    /// All that concern the Application.
    pub fn assigned(&self) -> impl Iterator<Item = &'a SyncWindow> {
        self.0.iter().map(|window| window.of)
    }

    /// Those that are open now.
    pub fn active(&self, now: Timestamp) -> impl Iterator<Item = &'a SyncWindow> {
        self.0.iter().filter(move |window| window.open(now)).map(|window| window.of)
    }

    /// Whether a sync may begin; `manual` when a user asks.
    pub fn can_sync(&self, manual: bool, now: Timestamp) -> Verdict {
        self.verdict(now, |at| self.stopped_by(manual, None, at))
    }

    /// Whether an operation that began at `started` may go on (`syncOverrun`).
    pub fn may_continue(&self, manual: bool, started: Option<Timestamp>, now: Timestamp) -> Verdict {
        self.verdict(now, |at| self.stopped_by(manual, started, at))
    }

    fn verdict(&self, now: Timestamp, stopped_by: impl Fn(Timestamp) -> Vec<&'a SyncWindow>) -> Verdict {
        let stopping = stopped_by(now);
        let Some(first) = stopping.first() else { return Verdict::yes() };
        let reason = match first.kind.as_str() {
            "deny" => format!("a {} is open", first.words()),
            _ => format!("no allow window is open ({})", first.words()),
        };
        let mut until = None;
        for _ in 0..CHANGES_MAX {
            let Some(next) = self.next_change(until.unwrap_or(now)) else {
                until = None;
                break;
            };
            until = Some(next);
            if stopped_by(next).is_empty() {
                break;
            }
        }
        Verdict { allowed: false, reason, until }
    }

    fn next_change(&self, now: Timestamp) -> Option<Timestamp> {
        self.0.iter().filter_map(|window| window.next_change(now)).min()
    }

    /// The windows that stop a sync; none of them when it may be.
    fn stopped_by(&self, manual: bool, started: Option<Timestamp>, at: Timestamp) -> Vec<&'a SyncWindow> {
        let of_kind = |kind: &str, open: bool| -> Vec<&'a SyncWindow> {
            let windows = self.0.iter().filter(|window| window.of.kind == kind && window.open(at) == open);
            windows.map(|window| window.of).collect()
        };
        let denies = of_kind("deny", true);
        let stopping = if denies.is_empty() {
            if !of_kind("allow", true).is_empty() {
                return Vec::new();
            }
            of_kind("allow", false)
        } else {
            denies
        };
        let by_hand = manual && stopping.iter().all(|window| window.manual_sync);
        let overrun = || {
            let allowed_then = |started| self.stopped_by(manual, None, started).is_empty();
            stopping.iter().all(|window| window.sync_overrun) && started.is_some_and(allowed_then)
        };
        if by_hand || overrun() { Vec::new() } else { stopping }
    }
}

fn refused(problem: String) -> Verdict {
    Verdict { allowed: false, reason: problem, until: None }
}

/// Whether a sync of the Application may begin.
pub fn can_sync(windows: &[SyncWindow], app: &Application, manual: bool, now: Timestamp) -> Verdict {
    Windows::of(windows, app).map_or_else(refused, |windows| windows.can_sync(manual, now))
}

/// Whether the Application's running operation may go on. Where not, Argo CD's message is
/// `Sync operation blocked by sync window`; an operation being terminated is never blocked.
pub fn may_continue(windows: &[SyncWindow], app: &Application, state: &OperationState, now: Timestamp) -> Verdict {
    let manual = !state.operation.initiated_by.as_ref().is_some_and(|by| by.automated);
    let started = state.started_at.as_deref().and_then(|at| at.parse().ok());
    Windows::of(windows, app).map_or_else(refused, |windows| windows.may_continue(manual, started, now))
}

#[cfg(test)]
mod tests;
