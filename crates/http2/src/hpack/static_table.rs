//! The static table (RFC 7541, appendix A).

use std::sync::LazyLock;

use http::{
    HeaderName, HeaderValue, Method, StatusCode, header,
    uri::{PathAndQuery, Scheme},
};

use super::{
    field::{Field, Name, Pseudo},
    table::hash,
};

/// Entries; the first index of the dynamic table is one more.
pub(super) const LENGTH: usize = 61;

/// Entries and their sizes, from index 1.
static ENTRIES: [(Field, usize); LENGTH] = [
    (Field::malformed(Name::Pseudo(Pseudo::Authority), "its :authority is empty"), 42),
    (Field::Method(Method::GET), 42),
    (Field::Method(Method::POST), 43),
    (Field::Path(PathAndQuery::from_static("/")), 38),
    (Field::Path(PathAndQuery::from_static("/index.html")), 48),
    (Field::Scheme(Scheme::HTTP), 43),
    (Field::Scheme(Scheme::HTTPS), 44),
    (Field::Status(StatusCode::OK), 42),
    (Field::Status(StatusCode::NO_CONTENT), 42),
    (Field::Status(StatusCode::PARTIAL_CONTENT), 42),
    (Field::Status(StatusCode::NOT_MODIFIED), 42),
    (Field::Status(StatusCode::BAD_REQUEST), 42),
    (Field::Status(StatusCode::NOT_FOUND), 42),
    (Field::Status(StatusCode::INTERNAL_SERVER_ERROR), 42),
    (header(header::ACCEPT_CHARSET, ""), 46),
    (header(header::ACCEPT_ENCODING, "gzip, deflate"), 60),
    (header(header::ACCEPT_LANGUAGE, ""), 47),
    (header(header::ACCEPT_RANGES, ""), 45),
    (header(header::ACCEPT, ""), 38),
    (header(header::ACCESS_CONTROL_ALLOW_ORIGIN, ""), 59),
    (header(header::AGE, ""), 35),
    (header(header::ALLOW, ""), 37),
    (header(header::AUTHORIZATION, ""), 45),
    (header(header::CACHE_CONTROL, ""), 45),
    (header(header::CONTENT_DISPOSITION, ""), 51),
    (header(header::CONTENT_ENCODING, ""), 48),
    (header(header::CONTENT_LANGUAGE, ""), 48),
    (header(header::CONTENT_LENGTH, ""), 46),
    (header(header::CONTENT_LOCATION, ""), 48),
    (header(header::CONTENT_RANGE, ""), 45),
    (header(header::CONTENT_TYPE, ""), 44),
    (header(header::COOKIE, ""), 38),
    (header(header::DATE, ""), 36),
    (header(header::ETAG, ""), 36),
    (header(header::EXPECT, ""), 38),
    (header(header::EXPIRES, ""), 39),
    (header(header::FROM, ""), 36),
    (header(header::HOST, ""), 36),
    (header(header::IF_MATCH, ""), 40),
    (header(header::IF_MODIFIED_SINCE, ""), 49),
    (header(header::IF_NONE_MATCH, ""), 45),
    (header(header::IF_RANGE, ""), 40),
    (header(header::IF_UNMODIFIED_SINCE, ""), 51),
    (header(header::LAST_MODIFIED, ""), 45),
    (header(header::LINK, ""), 36),
    (header(header::LOCATION, ""), 40),
    (header(header::MAX_FORWARDS, ""), 44),
    (header(header::PROXY_AUTHENTICATE, ""), 50),
    (header(header::PROXY_AUTHORIZATION, ""), 51),
    (header(header::RANGE, ""), 37),
    (header(header::REFERER, ""), 39),
    (header(header::REFRESH, ""), 39),
    (header(header::RETRY_AFTER, ""), 43),
    (header(header::SERVER, ""), 38),
    (header(header::SET_COOKIE, ""), 42),
    (header(header::STRICT_TRANSPORT_SECURITY, ""), 57),
    (header(header::TRANSFER_ENCODING, ""), 49),
    (header(header::USER_AGENT, ""), 42),
    (header(header::VARY, ""), 36),
    (header(header::VIA, ""), 35),
    (header(header::WWW_AUTHENTICATE, ""), 48),
];

const fn header(name: HeaderName, value: &'static str) -> Field {
    Field::Header(name, HeaderValue::from_static(value))
}

/// By its index, which begins at 1.
pub(super) fn get(index: usize) -> Option<&'static (Field, usize)> {
    ENTRIES.get(index.wrapping_sub(1))
}

/// Of a pseudo-header field's name, its first index.
pub(super) fn pseudo_index(name: Pseudo) -> Option<usize> {
    match name {
        Pseudo::Authority => Some(1),
        Pseudo::Method => Some(2),
        Pseudo::Path => Some(4),
        Pseudo::Scheme => Some(6),
        Pseudo::Status => Some(8),
        Pseudo::Protocol => None,
    }
}

/// Where the names of headers begin.
const FIRST_HEADER: usize = 15;
const SLOTS: usize = 256;

/// Indexes of headers, each in the slot of its name's hash or in one of those that follow it.
static BY_NAME: LazyLock<[u8; SLOTS]> = LazyLock::new(|| {
    let mut slots = [0; SLOTS];
    for (at, (field, _)) in ENTRIES.iter().enumerate().skip(FIRST_HEADER - 1) {
        let Field::Header(name, _) = field else { continue };
        let mut slot = hash(name.as_str().as_bytes()) as usize % SLOTS;
        while slots[slot] != 0 {
            slot = (slot + 1) % SLOTS;
        }
        slots[slot] = at as u8 + 1;
    }
    slots
});

/// The index of a header, and its value there; `hash` is the name's.
pub(super) fn header_index(name: &HeaderName, hash: u32) -> Option<(usize, &'static HeaderValue)> {
    let by_name = &*BY_NAME;
    let mut slot = hash as usize % SLOTS;
    // There are free slots, so it ends.
    while let Some((Field::Header(found, value), _)) = get(usize::from(by_name[slot])) {
        if found == name {
            return Some((usize::from(by_name[slot]), value));
        }
        slot = (slot + 1) % SLOTS;
    }
    None
}

/// Whether an index is that of a header with credentials.
pub(super) fn is_secret(index: usize) -> bool {
    // authorization, cookie, proxy-authorization, set-cookie
    matches!(index, 23 | 32 | 49 | 55)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indexes_and_sizes_are_those_of_the_rfc() {
        assert_eq!(get(0), None);
        assert_eq!(get(2), Some(&(Field::Method(Method::GET), 7 + 3 + 32)));
        assert_eq!(get(16), Some(&(header(header::ACCEPT_ENCODING, "gzip, deflate"), 15 + 13 + 32)));
        assert_eq!(get(61), Some(&(header(header::WWW_AUTHENTICATE, ""), 16 + 32)));
        assert_eq!(get(62), None);
        for (field, size) in &ENTRIES {
            let value = match field {
                Field::Method(method) => method.as_str().len(),
                Field::Scheme(scheme) => scheme.as_str().len(),
                Field::Path(path) => path.as_str().len(),
                Field::Status(status) => status.as_str().len(),
                Field::Header(_, value) => value.len(),
                _ => 0,
            };
            assert_eq!(*size, field.name().len() + value + 32, "{field:?}");
        }
    }

    #[test]
    fn each_name_is_found_by_its_first_index() {
        for index in 1..=LENGTH {
            let (field, _) = get(index).unwrap();
            let found = match field.name() {
                Name::Pseudo(name) => pseudo_index(name),
                Name::Header(name) => {
                    header_index(&name, hash(name.as_str().as_bytes())).map(|(index, _)| index)
                }
                Name::Invalid { .. } => None,
            };
            let first = (1..).find(|other| get(*other).unwrap().0.name() == field.name());
            assert_eq!(found, first, "{field:?}");
        }
        for other in [HeaderName::from_static("x-other"), header::UPGRADE] {
            assert_eq!(header_index(&other, hash(other.as_str().as_bytes())), None);
        }
    }

    #[test]
    fn secrets_are_found_by_their_index() {
        let secrets: Vec<_> = (1..=LENGTH)
            .filter(|index| is_secret(*index))
            .map(|index| get(index).unwrap().0.name())
            .collect();
        let expected =
            [header::AUTHORIZATION, header::COOKIE, header::PROXY_AUTHORIZATION, header::SET_COOKIE];
        assert_eq!(secrets, expected.map(Name::Header));
    }
}
