use proptest::prelude::*;

use super::*;

#[track_caller]
fn ask(query: &str, messages: &[&str]) -> Vec<Vec<(String, String)>> {
    let query = LogQuery::parse(query).unwrap_or_else(|error| panic!("{query}: {error}"));
    let mut run = query.run(None);
    for (number, message) in (0..).zip(messages) {
        let event = QueryEvent {
            at: Timestamp::from_millis(1_800_000_000_000 + number * 60_000),
            ingested_at: Timestamp::from_secs(1_800_000_000),
            log: "000000000000:g",
            stream: "s",
            message,
            pointer: &|| format!("p{number}"),
        };
        run.see(&event).expect("is taken");
    }
    run.finish().rows
}

/// The values of the rows, without pointers.
#[track_caller]
fn values(query: &str, messages: &[&str]) -> Vec<String> {
    let row = |row: Vec<(String, String)>| {
        let told: Vec<_> =
            row.into_iter().filter(|(name, _)| name != "@ptr").map(|(_, value)| value).collect();
        told.join(" ")
    };
    ask(query, messages).into_iter().map(row).collect()
}

const EVENTS: [&str; 4] = [
    r#"{"status": 200, "path": "/a", "ms": 10, "user": {"id": "u1", "tags": ["x", "y"]}}"#,
    r#"{"status": 503, "path": "/b", "ms": 30}"#,
    r#"{"status": 500, "path": "/a", "ms": 20.5, "note": "timed out after 5s"}"#,
    "plain text",
];

#[test]
fn fields_are_told_of_the_latest_first() {
    assert_eq!(values("fields @message | limit 1", &EVENTS), ["plain text"]);
    assert_eq!(
        values("filter ispresent(status) | fields status, path | limit 2", &EVENTS),
        ["500 /a", "503 /b"]
    );
    assert_eq!(values("fields user.id, user.tags.1 | filter ispresent(user.id)", &EVENTS), ["u1 y"]);
    let rows = ask("", &EVENTS);
    assert_eq!(rows[0][0], ("@timestamp".to_owned(), "2027-01-15 08:03:00.000".to_owned()));
    assert_eq!(rows[0][2], ("@ptr".to_owned(), "p3".to_owned()));
    assert_eq!(rows.len(), 4);
}

#[test]
fn filters_and_sorts() {
    for (filter, taken) in [
        ("status >= 500", 2),
        ("status = 503 or path = '/a'", 3),
        ("status >= 500 and path = \"/a\"", 1),
        ("not (status >= 500)", 2),
        ("path like \"/a\"", 2),
        ("path not like /a/", 2),
        ("@message like /(?i)PLAIN/", 1),
        ("@message =~ /\\d+s/", 1),
        ("status in [200, 503]", 2),
        ("status not in [200, 503]", 2),
        ("ms * 2 + 1 > 40 and strlen(path) = 2", 2),
        ("toupper(path) = '/B'", 1),
        ("@timestamp < '2027-01-15 08:02:00'", 2),
        ("status != 200", 3),
        ("missing > 1", 0),
        ("coalesce(missing, status) = 200", 1),
    ] {
        assert_eq!(values(&format!("filter {filter}"), &EVENTS).len(), taken, "{filter}");
    }
    let sorted = "filter ispresent(ms) | sort ms desc | display path, ms";
    assert_eq!(values(sorted, &EVENTS), ["/b 30", "/a 20.5", "/a 10"]);
    assert_eq!(
        values("filter ispresent(ms) | sort path asc, ms desc | display ms", &EVENTS),
        ["20.5", "10", "30"]
    );
    assert_eq!(values("fields path | filter ispresent(path) | dedup path", &EVENTS).len(), 2);
}

#[test]
fn parts_are_parsed() {
    let lines = ["user=ann took 15ms", "user=bob took 7ms", "else"];
    let query =
        r#"parse @message "user=* took *ms" as user, took | stats sum(took) as all, count(user) as n"#;
    assert_eq!(values(query, &lines), ["22 2"]);
    let query = r"parse @message /user=(?<user>\w+)/ | filter ispresent(user) | sort user | display user";
    assert_eq!(values(query, &lines), ["ann", "bob"]);
    assert!(LogQuery::parse("parse @message 'a*b*' as x").is_err());
}

#[test]
fn stats_are_by_groups() {
    assert_eq!(values("stats count(*), avg(ms), max(status)", &EVENTS), ["4 20.166666666666668 503"]);
    let query =
        "filter ispresent(status) | stats count() as n, min(ms), pct(ms, 100) as p by path | sort n desc";
    assert_eq!(values(query, &EVENTS)[0].split(' ').take(3).collect::<Vec<_>>(), ["/a", "2", "10"]);
    let query = "stats count(*) as n by bin(2m) as t | sort t | limit 1";
    assert_eq!(values(query, &EVENTS), ["2027-01-15 08:00:00.000 2"]);
    assert_eq!(values("stats count(*) as n by path | filter n > 1 | display n", &EVENTS), ["2"]);
    assert_eq!(
        values("stats count_distinct(path), latest(status), earliest(status)", &EVENTS),
        ["2 500 200"]
    );
    let rows = ask("stats count(*), sum(ms) by bin(1h)", &EVENTS);
    let names: Vec<_> = rows[0].iter().map(|(name, _)| &**name).collect();
    assert_eq!(names, ["bin(1h)", "count(*)", "sum(ms)"]);
    assert_eq!(values("filter status = 1 | stats count(*)", &EVENTS), ["0"]);
    assert_eq!(values("# how many\nstats count(*) # all", &EVENTS), ["4"]);
}

#[test]
fn what_is_no_query_is_refused() {
    let deep = format!("filter {}a{}", "(".repeat(60), ")".repeat(60));
    for query in [
        "select *",
        "fields",
        "filter",
        "stats",
        "stats foo(x)",
        "stats count(*) by",
        "limit 0",
        "limit x",
        "fields a b",
        "sort",
        "filter a like",
        "filter a = ",
        "filter foo(a)",
        "filter abs()",
        "stats bin(x)",
        "parse a b",
        "limit 3 | filter a",
        "sort a | stats count(*)",
        "stats count(*) | stats count(*)",
        "fields 'a",
        "filter a =~ /(/",
        &deep,
    ] {
        assert!(LogQuery::parse(query).is_err(), "{query}");
    }
    let error = LogQuery::parse("fields a | bogus").map(|_| ()).expect_err("no command");
    assert_eq!(
        error.to_string(),
        "fields, filter, parse, stats, sort, limit, dedup or display is needed at character 12"
    );
}

proptest! {
    #[test]
    fn any_query_is_read_or_refused(query in r#"(fields|filter|stats|parse|sort|limit|dedup|display|\||a|@message|count\(\*\)|by|bin\(5m\)|like|/x/|"a*"|as|=|<|\(|\)|,|1|not|in|\[|\]|-|\*| ){1,25}"#, messages in prop::collection::vec("[{}a\":1]{0,12}", 0..4)) {
        if let Ok(read) = LogQuery::parse(&query) {
            let mut run = read.run(Some(10));
            for message in &messages {
                let event = QueryEvent { at: Timestamp::default(), ingested_at: Timestamp::default(), log: "l", stream: "s", message, pointer: &String::new };
                let _ = run.see(&event);
            }
            prop_assert!(run.finish().rows.len() <= 10);
        }
    }

    #[test]
    fn the_rows_of_a_limit_are_the_first_of_all(numbers in prop::collection::vec(0..50u32, 0..60), limit in 1..9usize) {
        let messages: Vec<String> = numbers.iter().map(|number| format!("{{\"n\":{number}}}")).collect();
        let messages: Vec<&str> = messages.iter().map(String::as_str).collect();
        let told = values(&format!("sort n | limit {limit} | display n"), &messages);
        let mut expected = numbers.clone();
        expected.sort_unstable();
        expected.truncate(limit);
        prop_assert_eq!(told, expected.iter().map(u32::to_string).collect::<Vec<_>>());
    }
}
