//! `awslogs-datetime-format`: a strftime format becomes the regular expression that finds such a date in a line.

/// The regular expression of a format. Directives that are not known stand for themselves.
pub(super) fn pattern(format: &str) -> String {
    let mut pattern = String::new();
    let mut characters = format.chars();
    while let Some(character) = characters.next() {
        if character != '%' {
            literal(&mut pattern, character);
            continue;
        }
        let Some(directive) = characters.next() else {
            literal(&mut pattern, '%');
            break;
        };
        // Docker's table (daemon/logger/awslogs), which AWS documents.
        let expression = match directive {
            'A' => "(?:Monday|Tuesday|Wednesday|Thursday|Friday|Saturday|Sunday)",
            'a' => "(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)",
            'w' => "[0-6]",
            'B' => {
                "(?:January|February|March|April|May|June|July|August|September|October|November|December)"
            }
            'b' => "(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)",
            'd' | 'H' | 'I' | 'm' | 'M' | 'S' | 'y' => r"\d{2}",
            'f' => r"\d{6}",
            'j' => r"\d{3}",
            'L' => r"\d{3}",
            'p' => "[AP]M",
            'Y' => r"\d{4}",
            'Z' => r"[A-Z]{1,4}T",
            'z' => r"[+-]\d{4}",
            '%' => "%",
            other => {
                literal(&mut pattern, '%');
                literal(&mut pattern, other);
                continue;
            }
        };
        pattern.push_str(expression);
    }
    pattern
}

fn literal(pattern: &mut String, character: char) {
    pattern.push_str(&regex_lite::escape(character.encode_utf8(&mut [0; 4])));
}
