//! Plain directories: every manifest file as it is, and Jsonnet (Argo CD, user guide, "Directory").
use tako_engine::select::{DirectoryRules, SKIP_MARKER, Selected};

use crate::jsonnet;
use crate::render::Made;
use crate::request::{RenderError, Request};
use crate::tree::join;

/// Renders a directory source.
pub(crate) fn render(request: &Request) -> Result<Made, RenderError> {
    let rules = DirectoryRules::from(&request.source);
    let path = request.path()?;
    let (mut manifests, mut bytes) = (Vec::new(), 0);
    for file in request.tree.files(&path, rules.recurse())? {
        let name = join(&path, &file);
        let selected = rules.select(&file);
        if selected == Selected::No || (selected == Selected::Jsonnet && !request.settings.jsonnet_enabled) {
            continue;
        }
        let read = request.tree.read(&name)?;
        if marked(&read) {
            continue;
        }
        if selected == Selected::Jsonnet {
            manifests.extend(jsonnet::render(request, &name)?);
            continue;
        }
        // What Jsonnet makes is bounded by the limits of its process.
        bytes += read.len() as u64;
        let most = request.settings.directory_bytes_max;
        if most > 0 && bytes > most {
            return Err(RenderError::Spec(format!(
                "{path}: the manifests have more than {most} bytes together; narrow spec.source.path or raise reposerver.max.combined.directory.manifests.size"
            )));
        }
        if let Some(text) = decoded(&name, read)? {
            manifests.extend(found(&name, &text)?);
        }
    }
    Ok(Made { manifests, commands: Vec::new() })
}

fn found(name: &str, text: &str) -> Result<Vec<serde_json::Value>, RenderError> {
    tako_engine::parse::parse_found(name, text).map_err(RenderError::from)
}

/// The file asks to be left out; the marker is looked for in both widths of text.
fn marked(bytes: &[u8]) -> bool {
    let wide = |big: bool| -> Vec<u8> {
        let of = |unit: u16| if big { unit.to_be_bytes() } else { unit.to_le_bytes() };
        SKIP_MARKER.encode_utf16().flat_map(of).collect()
    };
    let holds = |needle: &[u8]| bytes.windows(needle.len()).any(|window| window == needle);
    match bytes {
        [0xff, 0xfe, ..] => holds(&wide(false)),
        [0xfe, 0xff, ..] => holds(&wide(true)),
        _ => holds(SKIP_MARKER.as_bytes()),
    }
}

/// UTF-8, or UTF-16 with a byte order mark (YAML 1.2 §5.2). `None`: it is no text, and nothing like a manifest.
fn decoded(name: &str, bytes: Vec<u8>) -> Result<Option<String>, RenderError> {
    let wide = |big: bool, bytes: &[u8]| {
        let units = bytes.chunks_exact(2).map(|pair| {
            if big { u16::from_be_bytes([pair[0], pair[1]]) } else { u16::from_le_bytes([pair[0], pair[1]]) }
        });
        char::decode_utf16(units).collect::<Result<String, _>>().ok()
    };
    let text = match bytes.as_slice() {
        [0xff, 0xfe, rest @ ..] => wide(false, rest),
        [0xfe, 0xff, rest @ ..] => wide(true, rest),
        [0xef, 0xbb, 0xbf, rest @ ..] => std::str::from_utf8(rest).ok().map(str::to_owned),
        rest => std::str::from_utf8(rest).ok().map(str::to_owned),
    };
    if text.is_none()
        && (name.ends_with(".json") || tako_engine::parse::looks_like_one(&String::from_utf8_lossy(&bytes)))
    {
        return Err(RenderError::Spec(format!(
            "{name}: the file is neither UTF-8 nor UTF-16 text; exclude it with spec.source.directory.exclude"
        )));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_read_in_the_encodings_of_yaml() {
        let utf16: Vec<u8> = [0xff, 0xfe].into_iter().chain("a: ä".encode_utf16().flat_map(u16::to_le_bytes)).collect();
        assert_eq!(decoded("x", utf16).unwrap().as_deref(), Some("a: ä"));
        assert_eq!(decoded("x", b"\xef\xbb\xbfa: 1".to_vec()).unwrap().as_deref(), Some("a: 1"));
        assert_eq!(decoded("x.yaml", vec![0x80]).unwrap(), None, "no manifest");
        let like_one = [b"apiVersion: v1\nkind: A\nmetadata: {}\n".as_slice(), &[0x80]].concat();
        assert!(decoded("x", like_one).unwrap_err().to_string().starts_with("x: "));
    }

    #[test]
    fn the_marker_is_found_in_every_encoding() {
        let wide = |text: &str| -> Vec<u8> {
            [0xfe, 0xff].into_iter().chain(text.encode_utf16().flat_map(u16::to_be_bytes)).collect()
        };
        assert!(marked(format!("# {SKIP_MARKER}").as_bytes()));
        assert!(marked(&wide(&format!("# {SKIP_MARKER}"))));
        assert!(!marked(&wide("# argocd:skip")));
        assert!(!marked(b""));
    }
}
