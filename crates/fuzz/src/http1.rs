//! A server of HTTP/1.1.

use bowline_http1::wire::decode;
use http::Method;

/// One byte: the request's method; then what the server says until it ends the connection.
pub fn http1_answer(input: &[u8]) {
    let [method, bytes @ ..] = input else { return };
    let method = [Method::GET, Method::HEAD, Method::POST, Method::CONNECT][usize::from(method % 4)].clone();
    let whole = told(&method, bytes, bytes.len().max(1));
    for cut in [1, 7, 100] {
        assert_eq!(told(&method, bytes, cut), whole, "pieces of {cut} bytes");
    }
}

/// What comes of an answer, in words.
fn told(method: &Method, bytes: &[u8], cut: usize) -> String {
    match decode(method, bytes.chunks(cut)) {
        Err(error) => format!("{error:?}"),
        Ok(answer) => {
            assert!(answer.body.len() < bytes.len(), "more than there was");
            assert!(!answer.response.status().is_informational(), "it is not the last");
            let has_none = *method == Method::HEAD || matches!(answer.response.status().as_u16(), 204 | 304);
            assert!(answer.body.is_empty() || !has_none, "it has no content");
            format!("{answer:?}")
        }
    }
}
