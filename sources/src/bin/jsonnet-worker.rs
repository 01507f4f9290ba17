//! The Jsonnet worker as a program of its own, for tests; `tako render-jsonnet` is the same.
fn main() -> std::process::ExitCode {
    tako_sources::jsonnet_main()
}
