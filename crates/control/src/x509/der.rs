//! Writes DER (X.690), of which X.509 needs little.

use bowline_model::clock::Timestamp;

/// Universal and context tags that are written.
pub(crate) mod tag {
    pub(crate) const BOOLEAN: u8 = 0x01;
    pub(crate) const INTEGER: u8 = 0x02;
    pub(crate) const BIT_STRING: u8 = 0x03;
    pub(crate) const OCTET_STRING: u8 = 0x04;
    pub(crate) const NULL: u8 = 0x05;
    pub(crate) const OID: u8 = 0x06;
    pub(crate) const UTF8_STRING: u8 = 0x0c;
    pub(crate) const SEQUENCE: u8 = 0x30;
    pub(crate) const SET: u8 = 0x31;
    pub(crate) const PRINTABLE_STRING: u8 = 0x13;
    pub(crate) const IA5_STRING: u8 = 0x16;
    pub(crate) const UTC_TIME: u8 = 0x17;
    pub(crate) const GENERALIZED_TIME: u8 = 0x18;

    /// `[number]`, primitive.
    pub(crate) const fn context(number: u8) -> u8 {
        0x80 | number
    }

    /// `[number]`, constructed.
    pub(crate) const fn constructed(number: u8) -> u8 {
        0xa0 | number
    }
}

/// 2050-01-01T00:00:00Z: from here on times have four digits of the year (RFC 5280 §4.1.2.5).
const GENERALIZED_FROM: u64 = 2_524_608_000;

/// A value with its tag and length.
pub(crate) fn value(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len();
    let mut out = Vec::with_capacity(length + 6);
    out.push(tag);
    if length < 0x80 {
        out.push(length.to_be_bytes()[7]);
    } else {
        let bytes = length.to_be_bytes();
        let digits = &bytes[bytes.iter().position(|byte| *byte != 0).unwrap_or(7)..];
        out.push(0x80 | digits.len().to_be_bytes()[7]);
        out.extend_from_slice(digits);
    }
    out.extend_from_slice(content);
    out
}

/// A sequence of values that are encoded already.
pub(crate) fn sequence<T: AsRef<[u8]>>(parts: impl IntoIterator<Item = T>) -> Vec<u8> {
    value(tag::SEQUENCE, &joined(parts))
}

/// Values one after the other.
pub(crate) fn joined<T: AsRef<[u8]>>(parts: impl IntoIterator<Item = T>) -> Vec<u8> {
    let mut out = Vec::new();
    for part in parts {
        out.extend_from_slice(part.as_ref());
    }
    out
}

/// An unsigned integer, from its big-endian bytes.
pub(crate) fn unsigned(bytes: &[u8]) -> Vec<u8> {
    let first = bytes.iter().position(|byte| *byte != 0).unwrap_or(bytes.len());
    let digits = &bytes[first..];
    match digits.first() {
        None => value(tag::INTEGER, &[0]),
        Some(top) if *top >= 0x80 => value(tag::INTEGER, &joined([&[0], digits])),
        Some(_) => value(tag::INTEGER, digits),
    }
}

/// A small integer.
pub(crate) fn small(number: u64) -> Vec<u8> {
    unsigned(&number.to_be_bytes())
}

pub(crate) fn boolean(value_: bool) -> Vec<u8> {
    value(tag::BOOLEAN, &[if value_ { 0xff } else { 0 }])
}

pub(crate) fn null() -> Vec<u8> {
    value(tag::NULL, &[])
}

pub(crate) fn octets(content: &[u8]) -> Vec<u8> {
    value(tag::OCTET_STRING, content)
}

/// A bit string of whole octets.
pub(crate) fn bits(content: &[u8]) -> Vec<u8> {
    value(tag::BIT_STRING, &joined([&[0][..], content]))
}

/// A list of named bits, the first the most significant: without zeros at its end (X.690 §11.2.2).
pub(crate) fn named_bits(flags: &[bool]) -> Vec<u8> {
    let length = flags.iter().rposition(|flag| *flag).map_or(0, |last| last + 1);
    let mut bytes = vec![0_u8; length.div_ceil(8)];
    for (at, _) in flags[..length].iter().enumerate().filter(|(_, flag)| **flag) {
        bytes[at / 8] |= 0x80 >> (at % 8);
    }
    let unused = (bytes.len() * 8 - length).to_be_bytes()[7];
    value(tag::BIT_STRING, &joined([&[unused][..], &bytes]))
}

/// An object identifier, from its dotted form; `None` where that is none.
pub(crate) fn oid(dotted: &str) -> Option<Vec<u8>> {
    let arcs: Vec<u64> = dotted.split('.').map(|arc| arc.parse().ok()).collect::<Option<_>>()?;
    let (&first, &second) = (arcs.first()?, arcs.get(1)?);
    if first > 2 || first < 2 && second > 39 || second > u64::MAX - 80 {
        return None;
    }
    let mut content = Vec::new();
    for arc in std::iter::once(first * 40 + second).chain(arcs[2..].iter().copied()) {
        let mut digits = vec![(arc & 0x7f).to_be_bytes()[7]];
        let mut rest = arc >> 7;
        while rest > 0 {
            digits.push(0x80 | (rest & 0x7f).to_be_bytes()[7]);
            rest >>= 7;
        }
        content.extend(digits.iter().rev());
    }
    Some(value(tag::OID, &content))
}

/// An object identifier that stands in the code.
pub(crate) fn known_oid(dotted: &'static str) -> Vec<u8> {
    oid(dotted).expect("a constant that a test encodes")
}

/// A moment, to the second, as X.509 writes it (RFC 5280 §4.1.2.5).
pub(crate) fn time(at: Timestamp) -> Vec<u8> {
    // `2026-11-21T03:47:48.000Z`
    let text = Timestamp::from_secs(at.as_secs()).to_string();
    let digits: String = text.chars().take(19).filter(char::is_ascii_digit).collect();
    match at.as_secs() < GENERALIZED_FROM {
        true => value(tag::UTC_TIME, format!("{}Z", &digits[2..]).as_bytes()),
        false => value(tag::GENERALIZED_TIME, format!("{digits}Z").as_bytes()),
    }
}

/// One value of an encoding: its tag, its content, and itself whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Element<'a> {
    pub(crate) tag: u8,
    pub(crate) content: &'a [u8],
    pub(crate) whole: &'a [u8],
}

/// The first value of `input`, and what follows it; `None` where there is none, or one whose length
/// is not written as DER writes it. Of tags only those of one byte.
pub(crate) fn read(input: &[u8]) -> Option<(Element<'_>, &[u8])> {
    let (&tag, rest) = input.split_first()?;
    let (&first, rest) = rest.split_first()?;
    if tag & 0x1f == 0x1f {
        return None;
    }
    let (length, rest) = match first {
        ..=0x7f => (usize::from(first), rest),
        0x81..=0x84 => {
            let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            let length = digits
                .iter()
                .try_fold(0_usize, |sum, byte| sum.checked_mul(256).map(|sum| sum + usize::from(*byte)))?;
            if digits.first() == Some(&0) || length < 0x80 {
                return None;
            }
            (length, rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    let whole = &input[..input.len() - rest.len()];
    Some((Element { tag, content, whole }, rest))
}

/// The one value of `input`, if it has this tag and nothing follows it.
pub(crate) fn only(input: &[u8], tag: u8) -> Option<Element<'_>> {
    read(input).filter(|(element, rest)| element.tag == tag && rest.is_empty()).map(|(element, _)| element)
}

/// The values one after the other within `content`, at most `most`.
pub(crate) fn elements(content: &[u8], most: usize) -> Option<Vec<Element<'_>>> {
    let mut found = Vec::new();
    let mut rest = content;
    while !rest.is_empty() {
        if found.len() == most {
            return None;
        }
        let (element, after) = read(rest)?;
        found.push(element);
        rest = after;
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use x509_parser::{der_parser::parse_der, prelude::FromDer as _, time::ASN1Time};

    use super::*;

    #[test]
    fn encodes_what_the_standard_shows() {
        // X.690 §8.19.5 and §8.6.4.2.
        assert_eq!(oid("2.999.3"), Some(vec![0x06, 0x03, 0x88, 0x37, 0x03]));
        assert_eq!(oid("1.2.840.113549").unwrap(), [0x06, 0x06, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d]);
        for wrong in ["", "1", "3.1", "1.40", "1.x", "1..2", "99999999999999999999.1"] {
            assert_eq!(oid(wrong), None, "{wrong}");
        }
        assert_eq!(unsigned(&[0, 0x80]), [0x02, 0x02, 0x00, 0x80]);
        assert_eq!(small(0), [0x02, 0x01, 0x00]);
        assert_eq!(named_bits(&[true, false, true]), [0x03, 0x02, 0x05, 0xa0]);
        assert_eq!(named_bits(&[false]), [0x03, 0x01, 0x00]);
        assert_eq!(time(Timestamp::from_secs(0)), b"\x17\x0d700101000000Z");
        assert_eq!(time(Timestamp::from_secs(GENERALIZED_FROM)), b"\x18\x0f20500101000000Z");
    }

    proptest! {
        #[test]
        fn lengths_are_read_back(content in proptest::collection::vec(any::<u8>(), 0..70_000)) {
            let encoded = octets(&content);
            let (rest, read) = parse_der(&encoded).unwrap();
            prop_assert!(rest.is_empty());
            prop_assert_eq!(read.as_slice().unwrap(), &content);
            prop_assert_eq!(only(&encoded, tag::OCTET_STRING).unwrap().content, content);
        }

        #[test]
        fn arbitrary_bytes_are_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            if let Some((element, rest)) = read(&bytes) {
                prop_assert_eq!(element.whole.len() + rest.len(), bytes.len());
            }
            let _ = elements(&bytes, 9);
        }

        #[test]
        fn times_are_read_back(seconds in 0_u64..253_402_300_799) {
            let encoded = time(Timestamp::from_secs(seconds));
            let (_, read) = ASN1Time::from_der(&encoded).unwrap();
            prop_assert_eq!(u64::try_from(read.timestamp()).unwrap(), seconds);
        }
    }
}
