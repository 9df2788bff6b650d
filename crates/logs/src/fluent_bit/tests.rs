use bowline_model::log_driver::{BodyFormat, Output};
use proptest::prelude::*;
use serde_json::json;

use super::*;

fn parse(text: &str) -> Result<FluentBit, String> {
    let variable = |name: &str| (name == "LOG_HOST").then(|| "logs.example".to_owned());
    FluentBit::parse("fluent-bit.conf", text, &variable).map_err(|error| error.to_string())
}

const NOTES: &str = "
[INPUT]
    Name              tcp
    Listen            0.0.0.0
    Port              5140
    Tag               ecs-application

[OUTPUT]
    Name              http
    Match             ecs-application
    Host              logstash.mycompany.com
    Port              5049
    URI               /
    Format            json
    tls               off
";

#[test]
fn the_notes_own_file_is_read() {
    let config = parse(NOTES).expect("it is right");
    let [input] = config.inputs.as_slice() else { panic!("one input") };
    assert_eq!((input.kind, input.port, input.tag.as_str()), (InputKind::Json, 5140, "ecs-application"));
    let [output] = config.outputs.as_slice() else { panic!("one output") };
    assert_eq!(output.matches.as_deref(), Some("ecs-application"));
    let Output::Http(http) = &output.output else { panic!("it is another") };
    assert_eq!(
        (http.host.as_str(), http.port, http.format),
        ("logstash.mycompany.com", 5049, BodyFormat::Json)
    );
}

#[test]
fn variables_comments_and_services_are_read() {
    let text = "# how often\n@SET PORT=9200\n[SERVICE]\n  Flush 0.5\n  Log_Level info\n  storage.path /x\n\
                [output]\n  name http\n  host ${LOG_HOST}\n  port ${PORT}\n  match *\n";
    let config = parse(text).expect("it is right");
    assert_eq!(config.flush, Some(Duration::from_millis(500)));
    let Output::Http(http) = &config.outputs[0].output else { panic!("it is another") };
    assert_eq!((http.host.as_str(), http.port), ("logs.example", 9200));
}

#[test]
fn what_is_not_here_is_refused_with_its_line() {
    for (text, words) in [
        (
            "[INPUT]\n Name tail\n",
            "fluent-bit.conf:2: the input \"tail\" is not here: known are tcp, forward",
        ),
        ("[OUTPUT]\n Name es\n", ":2: there is no output \"es\" here: known are cloudwatch_logs"),
        ("[OUTPUT]\n Name http\n Match *\n Hots x\n", ":4: the output http has no option Hots here"),
        ("[FILTER]\n Name lua\n", ":2: the filter \"lua\" is not here"),
        ("[PARSER]\n Name x\n", ":1: the section \"PARSER\" is not here: known are SERVICE, INPUT"),
        ("\n@INCLUDE other.conf\n", ":2: @INCLUDE is not here"),
        ("Name tcp\n", ":1: \"Name\" stands before any section"),
        ("[INPUT\n", ":1: a section is written [NAME]"),
        ("[OUTPUT]\n Name http\n Host ${NOBODY}\n", ":3: ${NOBODY} is set neither by @SET"),
        ("[INPUT]\n Name tcp\n Port 99999\n", ":3: Port: it is a number"),
        ("[FILTER]\n Name grep\n Regex log (\n", ":3: Regex: it is no regular expression"),
    ] {
        let error = parse(text).expect_err("it is wrong");
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn filters_drop_and_change_records() {
    let text = "[FILTER]\n Name grep\n Match app*\n Regex log error\n Exclude $a['b'] ^no\n\
                [FILTER]\n Name record_modifier\n Match *\n Record env dev stage\n Remove_key secret\n";
    let config = parse(text).expect("it is right");
    let run = |tag: &str, record: serde_json::Value| {
        let serde_json::Value::Object(mut record) = record else { panic!("an object") };
        let kept = config.filters.iter().all(|filter| filter.apply(tag, &mut record));
        kept.then_some(serde_json::Value::Object(record))
    };
    assert_eq!(run("app.1", json!({"log": "fine"})), None);
    assert_eq!(run("app.1", json!({"log": "an error", "a": {"b": "no way"}})), None);
    let kept = run("app.1", json!({"log": "an error", "secret": 1}));
    assert_eq!(kept, Some(json!({"log": "an error", "env": "dev stage"})));
    assert_eq!(run("other", json!({"log": "fine"})), Some(json!({"log": "fine", "env": "dev stage"})));
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "(\\[(INPUT|OUTPUT|FILTER|SERVICE|X)\\]\n|[ ]{0,2}(Name|Match|Port|Regex|Record|Header|@SET) .{0,12}\n|.{0,20}\n){0,12}") {
        let _ = parse(&text);
    }

    #[test]
    fn what_is_said_of_an_output_is_read(host in "[a-z]{1,10}(\\.[a-z]{1,5})?", port in 1u16.., lines in any::<bool>(), tag in "[a-z*.]{1,8}") {
        let format = if lines { "json_lines" } else { "json" };
        let text = format!("[OUTPUT]\n  Name http\n  Match {tag}\n  Host {host}\n  Port {port}\n  Format {format}\n");
        let config = parse(&text).expect("it is right");
        prop_assert_eq!(config.outputs[0].matches.as_deref(), Some(tag.as_str()));
        let Output::Http(http) = &config.outputs[0].output else { panic!("it is another") };
        prop_assert_eq!((&http.host, http.port), (&host, port));
        prop_assert_eq!(http.format == BodyFormat::JsonLines, lines);
    }
}
