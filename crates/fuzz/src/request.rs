//! HTTP/1.1's notation of a request, read leniently: what a server would have made of it.

/// A request whose parts may be anything.
#[derive(Debug, Default)]
pub(crate) struct HttpRequest<'a> {
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    pub(crate) query: Option<&'a str>,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, &'a [u8])>,
    pub(crate) body: &'a [u8],
}

/// Most headers that are read: hyper's own limit.
const HEADERS_MAX: usize = 100;

impl<'a> HttpRequest<'a> {
    /// Request line, headers, an empty line, the body. Lines end with LF, with or without CR.
    pub(crate) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (line, mut rest) = split_line(bytes)?;
        let mut words = std::str::from_utf8(line).ok()?.split(' ');
        let (method, target) = (words.next()?, words.next().unwrap_or("/"));
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (target, None),
        };
        let mut headers = Vec::new();
        while let Some((line, after)) = split_line(rest) {
            rest = after;
            if line.is_empty() || headers.len() == HEADERS_MAX {
                break;
            }
            let colon = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
            let name = std::str::from_utf8(&line[..colon]).ok()?.to_ascii_lowercase();
            headers.push((name, line.get(colon + 1..).unwrap_or_default().trim_ascii()));
        }
        Some(Self { method, path, query, headers, body: rest })
    }

    /// A header's text.
    pub(crate) fn header(&self, name: &str) -> Option<&'a str> {
        let (_, value) = self.headers.iter().find(|(other, _)| other == name)?;
        std::str::from_utf8(value).ok()
    }
}

fn split_line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.iter().position(|byte| *byte == b'\n')?;
    let line = bytes[..end].strip_suffix(b"\r").unwrap_or(&bytes[..end]);
    Some((line, &bytes[end + 1..]))
}
