//! The table of `docs/src/measured.md` is what the code says.
//! `BOWLINE_UPDATE=1 cargo test -p bowline-control --test metrics_page` writes it.

use std::{fmt::Write, path::Path};

use bowline_control::telemetry::{metric_data, tasks};

/// Before this line the page is written by hand.
const BEGIN: &str = "<!-- made from the code by a test: from here on -->\n";

fn table() -> String {
    let mut table = String::new();
    for namespace in ["AWS/ECS", "AWS/ApplicationELB", "ECS/ContainerInsights"] {
        writeln!(
            table,
            "\n### {namespace}\n\n| Metric | Dimensions | Unit | What it tells |\n|---|---|---|---|"
        )
        .expect("to memory");
        let all = metric_data::METRICS.iter().chain(tasks::METRICS);
        for metric in all.filter(|metric| metric.namespace == namespace) {
            let (name, dimensions, unit, help) = (metric.name, metric.dimensions, metric.unit, metric.help);
            writeln!(table, "| `{name}` | {dimensions} | {unit} | {help} |").expect("to memory");
        }
    }
    table
}

#[test]
fn the_page_lists_what_is_told() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/src/measured.md");
    let page = std::fs::read_to_string(&path).expect("there is a page");
    let (by_hand, _) = page.split_once(BEGIN).expect("the page has its line");
    let expected = format!("{by_hand}{BEGIN}{}", table());
    if std::env::var_os("BOWLINE_UPDATE").is_some() {
        std::fs::write(&path, &expected).expect("written");
        return;
    }
    assert_eq!(page, expected, "run BOWLINE_UPDATE=1 cargo test -p bowline-control --test metrics_page");
}
