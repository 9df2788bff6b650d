use proptest::prelude::*;

use super::*;

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn parse(driver: &str, pairs: &[(&str, &str)]) -> Result<LogConfiguration, String> {
    LogConfiguration::parse(driver, &map(pairs), BTreeMap::new()).map_err(|error| error.to_string())
}

#[test]
fn awslogs_is_read_as_ecs_documents_it() {
    let given = [
        ("awslogs-group", "/ecs/service-connect"),
        ("awslogs-region", "us-east-1"),
        ("awslogs-create-group", "true"),
        ("awslogs-stream-prefix", "app"),
        ("awslogs-datetime-format", "%Y-%m-%d [%H]"),
        ("mode", "blocking"),
        ("max-buffer-size", "25m"),
    ];
    let LogDriver::AwsLogs(awslogs) = parse("awslogs", &given).expect("it is right").driver else {
        panic!("it is another")
    };
    assert_eq!(awslogs.group, "/ecs/service-connect");
    assert!(awslogs.create_group && awslogs.buffering.blocking);
    assert_eq!(awslogs.buffering.bytes_max, 25 << 20);
    let pattern = Regex::new(awslogs.multiline.as_deref().expect("a format")).expect("a pattern");
    assert!(pattern.is_match("x 2026-11-21 [07] y") && !pattern.is_match("2026-11-21 07"));
    let task = crate::task::TaskId::from_random([0xab; 16]);
    assert_eq!(awslogs.stream("web", &task), format!("app/web/{task}"));
}

#[test]
fn what_is_wrong_is_refused_with_what_is_allowed() {
    for (driver, pairs, words) in [
        ("awslogs", &[("awslogs-group", "g")][..], "requires options: awslogs-region"),
        (
            "awslogs",
            &[("awslog-group", "g")][..],
            "disallows options: awslog-group (allowed are awslogs-create-group",
        ),
        ("syslog", &[][..], "Log driver syslog is not supported on this platform"),
        ("logfile", &[][..], "allowed are awsfirelens, awslogs, fluentd, json-file, none"),
        ("json-file", &[("max-size", "big")][..], "it is a size"),
        ("none", &[("a", "b")][..], "disallows options: a"),
        ("fluentd", &[("tag", "{{.DaemonName}}")][..], "known placeholders"),
        (
            "awsfirelens",
            &[("Name", "kafka")][..],
            "no output \"kafka\" here: known are cloudwatch_logs, forward",
        ),
        (
            "awsfirelens",
            &[("Name", "http"), ("Hots", "x")][..],
            "has no option Hots here: known are compress",
        ),
        ("awsfirelens", &[("Name", "http"), ("Format", "msgpack")][..], "it is json, json_lines"),
        ("awsfirelens", &[("Name", "http"), ("Header", "a\nb c")][..], "a name, a space and a value"),
    ] {
        let error = parse(driver, pairs).expect_err("it is wrong");
        assert!(error.contains(words), "{driver}: {error}");
    }
}

#[test]
fn firelens_reads_what_people_write() {
    let options = [
        ("Name", "http"),
        ("Host", "logstash.mycompany.com"),
        ("Port", "5049"),
        ("URI", "/"),
        ("tls", "off"),
        ("compress", "gzip"),
        ("Header", "X-Key: abc def"),
        ("Retry_Limit", "2"),
        ("log-driver-buffer-limit", "2097152"),
    ];
    let LogDriver::AwsFireLens(firelens) = parse("awsfirelens", &options).expect("it is right").driver else {
        panic!("it is another")
    };
    let route = firelens.route(&BTreeMap::new()).expect("it is right");
    let rule = route.output.expect("an output");
    assert_eq!(rule.retry, RetryLimit::Times(2));
    let Output::Http(http) = rule.output else { panic!("it is another") };
    assert_eq!((http.host.as_str(), http.port, http.gzip), ("logstash.mycompany.com", 5049, true));
    assert_eq!(http.headers, [("X-Key".to_owned(), "abc def".to_owned())]);
    assert!(http.tls.is_none());
    // The notes' own form: what the router's file says, by tag.
    let tagged =
        parse("awsfirelens", &[("Name", "firelens"), ("Tag", "ecs-application")]).expect("it is right");
    let LogDriver::AwsFireLens(tagged) = tagged.driver else { panic!("it is another") };
    let route = tagged.route(&BTreeMap::new()).expect("it is right");
    assert_eq!((route.tag.as_deref(), route.output), (Some("ecs-application"), None));
}

#[test]
fn a_secret_option_is_known_by_name_and_takes_its_value_later() {
    let secrets = map(&[("http_Passwd", "arn:aws:secretsmanager:…")]);
    let options = map(&[("Name", "http"), ("http_User", "u")]);
    let parsed = LogConfiguration::parse("awsfirelens", &options, secrets).expect("it is right");
    let LogDriver::AwsFireLens(firelens) = &parsed.driver else { panic!("it is another") };
    let values = BTreeMap::from([("http_Passwd".to_owned(), Secret::new("p".to_owned()))]);
    let route = firelens.route(&values).expect("it is right");
    let Some(Output::Http(http)) = route.output.map(|rule| rule.output) else { panic!("it is another") };
    assert_eq!(http.basic, Some(("u".to_owned(), "p".to_owned())));
    assert!(!format!("{http:?}").contains("\"p\""));
    let unknown = map(&[("password", "arn")]);
    assert!(LogConfiguration::parse("awsfirelens", &options, unknown).is_err());
}

#[test]
fn a_container_has_the_same_id_whenever_it_is_asked() {
    let task = crate::task::TaskId::from_random([1; 16]);
    assert_eq!(container_id(&task, "web"), container_id(&task, "web"));
    assert_ne!(container_id(&task, "web"), container_id(&task, "app"));
    assert_eq!(container_id(&task, "web").len(), 43);
}

#[test]
fn a_log_routers_options_are_those_of_ecs() {
    let options = map(&[("config-file-type", "file"), ("config-file-value", "/fluent-bit.conf")]);
    let parsed = FireLensConfiguration::parse(false, &options).expect("it is right");
    assert_eq!(parsed.config_file.as_deref(), Some("/fluent-bit.conf"));
    assert!(parsed.metadata);
    for wrong in [
        &[("config-file-type", "s3"), ("config-file-value", "arn:aws:s3:::b/c")][..],
        &[("config-file-value", "/x")][..],
        &[("enable-ecs-log-metadata", "yes")][..],
        &[("other", "x")][..],
    ] {
        assert!(FireLensConfiguration::parse(false, &map(wrong)).is_err(), "{wrong:?}");
    }
}

/// The plain meaning of a pattern, to compare with.
fn slow(pattern: &[u8], tag: &[u8]) -> bool {
    match pattern.split_first() {
        None => tag.is_empty(),
        Some((b'*', rest)) => (0..=tag.len()).any(|skipped| slow(rest, &tag[skipped..])),
        Some((first, rest)) => tag.first() == Some(first) && slow(rest, &tag[1..]),
    }
}

proptest! {
    #[test]
    fn a_tag_matches_as_a_pattern_means(pattern in "[ab*]{0,6}", tag in "[ab]{0,8}") {
        prop_assert_eq!(matches_tag(&pattern, &tag), slow(pattern.as_bytes(), tag.as_bytes()), "{} {}", pattern, tag);
    }

    #[test]
    fn a_format_is_always_a_regular_expression(format in ".{0,20}") {
        prop_assert!(Regex::new(&datetime::pattern(&format)).is_ok());
    }
}
