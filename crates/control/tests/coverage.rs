//! `docs/src/aws-coverage.md` is what the table of operations says.
//! `BOWLINE_UPDATE=1 cargo test -p bowline-control --test coverage` writes it.

use std::{fmt::Write, path::Path};

use bowline_aws::protocol::SERVICES;
use bowline_control::api::operation::{Access, Effect, of_service};

const HEAD: &str = "# The AWS API, operation by operation

Served on the endpoint of `bowline up` and `bowline server`. *Effective*: it does what it does on
AWS, on what runs here. *Recorded*: what it is given is kept and told; nothing here acts on it.
*Refused*: it is checked as AWS checks it and then refused, with the way that there is. An
operation that is not listed answers `UnknownOperationException` (JSON and CBOR) or
`InvalidAction` (XML). *Data* operations are called so often that the audit trail takes them only
when told to.

This page is made from the code by a test.
";

fn page() -> String {
    let mut page = HEAD.to_owned();
    for service in SERVICES {
        let operations = of_service(service.name);
        if operations.is_empty() {
            continue;
        }
        writeln!(page, "\n## {} ({})\n", service.name, operations.len()).expect("to memory");
        page.push_str("| Operation | Kind | Effect |\n|---|---|---|\n");
        for operation in operations {
            let kind = match operation.access {
                Access::Read => "read",
                Access::Data | Access::DataWrite => "data",
                Access::Write => "write",
            };
            let effect = match operation.effect {
                Effect::Effective => "effective",
                Effect::Recorded => "recorded",
                Effect::Refused => "refused",
            };
            writeln!(page, "| {} | {kind} | {effect} |", operation.name).expect("to memory");
        }
    }
    page
}

#[test]
fn the_page_says_what_is_served() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/src/aws-coverage.md");
    let page = page();
    if std::env::var_os("BOWLINE_UPDATE").is_some() {
        std::fs::write(&path, &page).expect("the page is written");
    }
    let present = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(present, page, "run BOWLINE_UPDATE=1 cargo test -p bowline-control --test coverage");
}

#[test]
fn operations_are_in_order_and_each_is_there_once() {
    for service in SERVICES {
        let names: Vec<_> = of_service(service.name).iter().map(|operation| operation.name).collect();
        let mut sorted = names.clone();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(names, sorted, "{}", service.name);
    }
}
