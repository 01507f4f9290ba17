//! Finds the built page: its absence is a clear error, not an empty page.
fn main() {
    let dist = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("ui/dist");
    println!("cargo::rerun-if-changed=ui/dist");
    if !dist.join("index.html").exists() {
        println!("cargo::error=web/ui/dist is missing: the page is not built; run `make ui` first");
    }
}
