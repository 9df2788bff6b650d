use proptest::prelude::*;

use super::*;

#[track_caller]
fn pattern(text: &str) -> FilterPattern {
    FilterPattern::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[track_caller]
fn check(text: &str, taken: &[&str], left: &[&str]) {
    let pattern = pattern(text);
    for message in taken {
        assert!(pattern.matches(message), "{text} takes {message}");
    }
    for message in left {
        assert!(!pattern.matches(message), "{text} does not take {message}");
    }
}

#[test]
fn terms_are_all_there_or_any_or_none() {
    check("", &["", "anything"], &[]);
    check("\" \"", &["a b"], &["ab"]);
    check("ERROR", &["[ERROR 400] BAD REQUEST"], &["[error 400]", "WARN"]);
    check("ERROR ARGUMENTS", &["ARGUMENTS ERROR"], &["ERROR"]);
    check("?ERROR ?WARN", &["an ERROR", "a WARN"], &["INFO"]);
    check("ERROR ?WARN", &["ERROR"], &["WARN"]);
    check("ERROR -EXITING", &["ERROR"], &["ERROR EXITING"]);
    check("-\"health check\" -ping", &["GET /"], &["a health check", "ping"]);
    check("\"INTERNAL SERVER ERROR\"", &["500: INTERNAL SERVER ERROR."], &["INTERNAL ERROR"]);
    check(r#""say \"hi\"""#, &[r#"I say "hi""#], &["I say hi"]);
    check(r"%\b4\d\d\b%", &["status 404"], &["status 500", "4045"]);
    check(r"%100\%%", &["at 100% now"], &["100"]);
}

#[test]
fn fields_are_by_their_place() {
    let line = "127.0.0.1 - frank [10/Oct/2000:13:25:15 -0700] \"GET /index.html HTTP/1.0\" 404 1534";
    check("[ip, user, username, timestamp, request =*.html*, status = 4*, bytes]", &[line], &["a b"]);
    check("[ip, user, username, timestamp, request, status_code=404, bytes > 1000]", &[line], &[]);
    check("[ip, user, username, timestamp, request, status_code=404, bytes > 2000]", &[], &[line]);
    check("[ip, ..., status_code = 4* || status_code = 5*, bytes]", &[line], &["1 200 5"]);
    check("[..., bytes >= 1534 && bytes < 1535]", &[line], &["only 1533"]);
    check("[a, b]", &["x y"], &["x", "x y z"]);
    check("[w1=ERROR || w1=%WARN%, ...]", &["ERROR x", "a-WARN-b"], &["INFO x"]);
    check("[w1!=ERROR && w1!=WARN, w2]", &["INFO x"], &["ERROR x", "WARN x"]);
    check("[...]", &["", "a", "a b"], &[]);
    let named = pattern("[ip, ..., request, status, bytes]").extracted(line);
    assert_eq!(named["$request"], "GET /index.html HTTP/1.0");
    assert_eq!(pattern("[..., bytes]").value(line, "$bytes").as_deref(), Some("1534"));
    assert_eq!(pattern("[..., bytes]").value(line, "$none"), None);
}

#[test]
fn members_of_json_are_compared() {
    let event = r#"{"eventType": "UpdateTrail", "sourceIPAddress": "111.111.111.111", "response_code": 503,
        "objectList": [{"name": "a", "id": 1}, {"name": "b", "id": 2}], "SomeObject": null, "ThisFlag": true,
        "a.b": "dotted", "method": "GET", "latency": 0.5}"#;
    let yes = [
        r#"{ $.eventType = "UpdateTrail" }"#,
        "{ $.eventType = Update* }",
        "{$.eventType=UpdateTrail}",
        "{ $.sourceIPAddress != 123.123.* }",
        "{ $.objectList[1].id = 2 }",
        "{ $.objectList[*].name = b }",
        "{ $.SomeObject IS NULL }",
        "{ $.SomeOtherObject NOT EXISTS }",
        "{ $.ThisFlag IS TRUE }",
        "{ $.response_code = 5* && $.method = \"GET\" }",
        "{ $.response_code >= 500 }",
        "{ ($.response_code = 200 || $.latency <= 5e-1) && ($.method != POST) }",
        "{ $.['a.b'] = dotted }",
        r"{ $.eventType = %^Update(Trail|Bucket)$% }",
    ];
    for text in yes {
        check(text, &[event], &["not JSON", "{}x", ""]);
    }
    let no = [
        "{ $.eventType = updatetrail }",
        "{ $.response_code = \"50\" }",
        "{ $.response_code < 500 }",
        "{ $.nothing != 1 }",
        "{ $.nothing IS NULL }",
        "{ $.ThisFlag IS FALSE }",
        "{ $.method NOT EXISTS }",
        "{ $.objectList[2].id = 2 }",
        "{ $.method = GET && $.method = POST || $.latency > 1 }",
    ];
    for text in no {
        check(text, &[], &[event]);
    }
    let extracted = pattern("{ $.response_code = 5* && $.latency > 0 }").extracted(event);
    assert_eq!(extracted["$.response_code"], "503");
    assert_eq!(pattern("{ $.latency > 0 }").value(event, "$.objectList[0].name").as_deref(), Some("a"));
}

#[test]
fn what_is_no_pattern_is_refused() {
    let long = "a".repeat(PATTERN_CHARACTERS_MAX + 1);
    let deep = format!("{{ {}$.a = 1{} }}", "(".repeat(40), ")".repeat(40));
    let all = [
        "{ $.a }",
        "{ a = 1 }",
        "{ $.a = }",
        "{ $.a = 1",
        "{ $.a > \"x\" }",
        "{ $.a IS }",
        "{ $.a NOT }",
        "{ $. = 1 }",
        "{}",
        "[a",
        "[a, ..., b, ...]",
        "[a=1 && b=2]",
        "\"open",
        "%open",
        "%(%",
        "-",
        "%a% %b% %c%",
        &long,
        &deep,
        "{ $.a = 1 } x",
        "[a] b",
    ];
    for text in all {
        assert!(FilterPattern::parse(text).is_err(), "{text}");
    }
    assert_eq!(
        FilterPattern::parse("{ $.a = 1 &&").map_err(|error| error.to_string()),
        Err("the filter pattern ends where a selector, as $.name is needed".to_owned())
    );
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in r#"[\[\]{}()$.,=<>!&|"'%*?\- a-c0-9\\]{0,40}"#, message in ".{0,40}") {
        if let Ok(pattern) = FilterPattern::parse(&text) {
            let _ = (pattern.matches(&message), pattern.extracted(&message));
        }
    }

    #[test]
    fn any_json_is_looked_through(text in r#"\{ \$\.[ab](\[[01*]\])?(\.[ab])? (=|!=|<|>=) [ab0-9*]{1,3} \}"#, message in r#"\{"a": (1|null|"b"|\[1,\{"b":2\}\]), "b": \{"a": 0\}\}"#) {
        if let Ok(pattern) = FilterPattern::parse(&text) {
            let _ = pattern.matches(&message);
        }
    }

    #[test]
    fn globs_agree_with_the_obvious_definition(glob in "[ab*]{0,7}", text in "[ab]{0,7}") {
        fn obvious(glob: &[u8], text: &[u8]) -> bool {
            match (glob.first(), text.first()) {
                (None, None) => true,
                (Some(b'*'), _) => obvious(&glob[1..], text) || (!text.is_empty() && obvious(glob, &text[1..])),
                (Some(g), Some(t)) if g == t => obvious(&glob[1..], &text[1..]),
                _ => false,
            }
        }
        prop_assert_eq!(operand::Glob::new(&glob).matches(&text), obvious(glob.as_bytes(), text.as_bytes()));
    }
}
