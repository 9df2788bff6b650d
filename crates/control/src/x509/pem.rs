//! PEM (RFC 7468), strictly: one label, base64 without strangers in between.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use zeroize::Zeroizing;

/// Most blocks that are read of one text.
const BLOCKS_MAX: usize = 32;

/// A text is no PEM, or of something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoPem;

/// A block: its label, and its bytes, which may be a key's.
pub(crate) type Block = (String, Zeroizing<Vec<u8>>);

/// One block: the label and the bytes.
pub(crate) fn write(label: &str, der: &[u8]) -> String {
    let body = Zeroizing::new(STANDARD.encode(der));
    let mut text = format!("-----BEGIN {label}-----\n");
    text.reserve(body.len() + body.len() / 64 + label.len() + 32);
    for line in body.as_bytes().chunks(64) {
        text.extend(line.iter().copied().map(char::from));
        text.push('\n');
    }
    text.push_str(&format!("-----END {label}-----\n"));
    text
}

/// Every block of a text, with its label. What stands between blocks is passed over, as openssl
/// does with the text that it writes before a certificate.
pub(crate) fn read(text: &[u8]) -> Result<Vec<Block>, NoPem> {
    let text = std::str::from_utf8(text).map_err(|_| NoPem)?;
    let mut blocks = Vec::new();
    let mut lines = text.lines().map(str::trim);
    while let Some(line) = lines.next() {
        let Some(label) = line.strip_prefix("-----BEGIN ").and_then(|rest| rest.strip_suffix("-----")) else {
            continue;
        };
        let end = format!("-----END {label}-----");
        // As large as the text at most: growing would leave copies of a key behind.
        let mut body = Zeroizing::new(String::with_capacity(text.len()));
        loop {
            match lines.next() {
                Some(line) if line == end => break,
                Some(line) => body.push_str(line),
                None => return Err(NoPem),
            }
        }
        if blocks.len() == BLOCKS_MAX {
            return Err(NoPem);
        }
        blocks.push((label.to_owned(), Zeroizing::new(STANDARD.decode(body.as_bytes()).map_err(|_| NoPem)?)));
    }
    Ok(blocks)
}

/// The certificates of a text, which has nothing else; at least one.
pub(crate) fn certificates(text: &[u8]) -> Result<Vec<Vec<u8>>, NoPem> {
    let blocks = read(text)?;
    match blocks.is_empty() || blocks.iter().any(|(label, _)| label != "CERTIFICATE") {
        true => Err(NoPem),
        false => Ok(blocks.into_iter().map(|(_, der)| der.to_vec()).collect()),
    }
}

/// One block of a label that fits.
pub(crate) fn one(text: &[u8], labels: &[&str]) -> Result<Block, NoPem> {
    let mut blocks = read(text)?;
    match (blocks.pop(), blocks.is_empty()) {
        (Some((label, der)), true) if labels.contains(&label.as_str()) => Ok((label, der)),
        _ => Err(NoPem),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn refuses_what_is_cut_short_or_something_else() {
        let whole = write("CERTIFICATE", &[7; 100]);
        assert_eq!(certificates(whole.as_bytes()), Ok(vec![vec![7; 100]]));
        let twice = format!("Certificate:\n    Data:\n{whole}{whole}").replace('\n', "\r\n");
        assert_eq!(certificates(twice.as_bytes()).unwrap().len(), 2);
        assert_eq!(certificates(&whole.as_bytes()[..whole.len() - 10]), Err(NoPem));
        assert_eq!(certificates(b""), Err(NoPem));
        assert_eq!(certificates(write("PRIVATE KEY", &[7]).as_bytes()), Err(NoPem));
        assert_eq!(certificates(whole.replace("BwcH", "B*cH").as_bytes()), Err(NoPem));
        assert_eq!(one(twice.as_bytes(), &["CERTIFICATE"]).err(), Some(NoPem));
        assert_eq!(certificates(whole.repeat(BLOCKS_MAX + 1).as_bytes()), Err(NoPem));
    }

    proptest! {
        #[test]
        fn is_read_as_it_was_written(der in proptest::collection::vec(any::<u8>(), 1..300)) {
            let text = write("X", &der);
            prop_assert_eq!(one(text.as_bytes(), &["X"]).unwrap().1.to_vec(), der);
        }

        #[test]
        fn arbitrary_text_does_not_panic(text in "(-----BEGIN [A-Z]{1,3}-----|[a-zA-Z0-9+/=]{0,9}|\n|-----END [A-Z]-----){0,9}") {
            let _ = read(text.as_bytes());
        }
    }
}
