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
        match rules.select(&file) {
            Selected::No => continue,
            Selected::Jsonnet if request.settings.jsonnet_enabled => {
                manifests.extend(jsonnet::render(request, &name)?);
            }
            Selected::Jsonnet => continue,
            Selected::Manifest => {
                let text = decoded(&name, request.tree.read(&name)?)?;
                bytes += text.len() as u64;
                let most = request.settings.directory_bytes_max;
                if most > 0 && bytes > most {
                    return Err(RenderError::Spec(format!(
                        "{path}: the manifests have more than {most} bytes together; narrow spec.source.path or raise reposerver.max.combined.directory.manifests.size"
                    )));
                }
                if !text.contains(SKIP_MARKER) {
                    manifests.extend(Request::parse(&name, &text)?);
                }
            }
        }
    }
    Ok(Made { manifests, commands: Vec::new() })
}

/// UTF-8, or UTF-16 with a byte order mark (YAML 1.2 §5.2).
fn decoded(name: &str, bytes: Vec<u8>) -> Result<String, RenderError> {
    let wide = |big: bool, bytes: &[u8]| {
        let units = bytes.chunks_exact(2).map(|pair| {
            if big { u16::from_be_bytes([pair[0], pair[1]]) } else { u16::from_le_bytes([pair[0], pair[1]]) }
        });
        char::decode_utf16(units).collect::<Result<String, _>>().ok()
    };
    let text = match bytes.as_slice() {
        [0xff, 0xfe, rest @ ..] => wide(false, rest),
        [0xfe, 0xff, rest @ ..] => wide(true, rest),
        [0xef, 0xbb, 0xbf, rest @ ..] => String::from_utf8(rest.to_vec()).ok(),
        _ => String::from_utf8(bytes).ok(),
    };
    text.ok_or_else(|| {
        RenderError::Spec(format!(
            "{name}: the file is neither UTF-8 nor UTF-16 text; exclude it with spec.source.directory.exclude"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_read_in_the_encodings_of_yaml() {
        let utf16: Vec<u8> = [0xff, 0xfe].into_iter().chain("a: ä".encode_utf16().flat_map(u16::to_le_bytes)).collect();
        assert_eq!(decoded("x", utf16).unwrap(), "a: ä");
        assert_eq!(decoded("x", b"\xef\xbb\xbfa: 1".to_vec()).unwrap(), "a: 1");
        assert!(decoded("x", vec![0x80]).unwrap_err().to_string().starts_with("x: "));
    }
}
