//! docs/EVENTS.md is made from the tables of this crate. `UPDATE_EXPECT=1 cargo test` writes it anew.
use std::fmt::Write as _;

use tako_bus::{CATALOGUE, STREAMS, Written};

#[test]
fn the_page_of_events_and_streams_is_that_of_the_tables() {
    let mut page = String::from(
        "# Events and streams\n\nMade from `bus/src/events.rs` and `bus/src/streams.rs`; do not edit (`UPDATE_EXPECT=1 cargo test -p tako-bus`).\n\n\
         Bodies are MessagePack with named fields; the type is in the header `Tako-Type`, the walk in `Tako-Corr`, the message before in `Tako-Cause`.\n\n\
         | event | subject | said by | meaning |\n|---|---|---|---|\n",
    );
    for row in CATALOGUE {
        writeln!(page, "| `{}` | `{}` | {} | {} |", row.name, row.subject, row.from, row.about).unwrap();
    }
    page.push_str("\n| stream | subjects | oldest | bytes | written | for |\n|---|---|---|---|---|---|\n");
    for row in STREAMS {
        let age = match row.max_age.as_secs() / 86_400 {
            0 => "–".to_owned(),
            days => format!("{days} d"),
        };
        let written = match row.written {
            Written::Through if row.undeletable => "through; cannot be deleted",
            Written::Through => "through",
            Written::Behind => "behind; can be rebuilt",
            Written::Memory => "in memory; can be rebuilt",
        };
        writeln!(
            page,
            "| `{}` | `{}` | {age} | {} MiB | {written} | {} |",
            row.name,
            row.subject,
            row.max_bytes / 1024 / 1024,
            row.about
        )
        .unwrap();
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/EVENTS.md");
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(path, &page).unwrap();
    }
    assert_eq!(std::fs::read_to_string(path).unwrap_or_default(), page, "run UPDATE_EXPECT=1 cargo test -p tako-bus");
}
