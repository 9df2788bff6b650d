//! Evidence as a table and as a page to hand to an auditor.

use std::fmt::Write;

use bowline_model::clock::Timestamp;

use super::evidence::{Evidence, PairEvidence};
use crate::{display::Table, topology::CertificateView};

/// A line a pair, for the terminal.
pub(crate) fn table(evidence: &Evidence) -> String {
    let mut table = Table::new([
        "",
        "CALLER",
        "CALLED",
        "ALIAS",
        "MODE",
        "TLS",
        "CIPHER",
        "MARK SEEN",
        "PLAINTEXT",
        "NO CERTIFICATE",
    ]);
    for pair in &evidence.pairs {
        table.row([
            if pair.passed() { "√" } else { "×" }.to_owned(),
            pair.caller.clone(),
            pair.callee.clone(),
            pair.alias.clone(),
            pair.mode.clone(),
            pair.tls_version.clone().unwrap_or_else(|| "none".into()),
            pair.cipher.clone().unwrap_or_else(|| "-".into()),
            format!("{} of {} bytes", pair.mark_occurrences, pair.captured_bytes),
            pair.plaintext.text().to_owned(),
            pair.without_certificate.text().to_owned(),
        ]);
    }
    let mut text = table.to_string();
    for pair in evidence.pairs.iter().filter(|pair| !pair.passed()) {
        for fault in &pair.faults {
            let _ = writeln!(text, "× {} → {}: {fault}", pair.caller, pair.callee);
        }
    }
    text
}

/// A page that needs nothing beside itself.
pub(crate) fn html(evidence: &Evidence) -> String {
    let verdict = if evidence.passed { "passed" } else { "failed" };
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n\
         <title>Encryption in transit: {verdict}</title>\n<style>{STYLE}</style></head><body>\n\
         <h1>Encryption in transit: <span class=\"{verdict}\">{verdict}</span></h1>\n\
         <p>Taken {} by Bowline {} in the trust domain <code>{}</code>. {}</p>\n",
        evidence.at,
        escape(&evidence.bowline),
        escape(&evidence.trust_domain),
        escape(&evidence.method),
    );
    for pair in &evidence.pairs {
        section(&mut page, pair, evidence.at);
    }
    page.push_str("</body></html>\n");
    page
}

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}\
    table{border-collapse:collapse;width:100%}th{width:16rem}th,td{text-align:left;vertical-align:top;padding:.3rem .6rem;\
    border-bottom:1px solid #ccc}code{overflow-wrap:anywhere}.passed{color:#06702c}.failed{color:#b00020}\
    @media(prefers-color-scheme:dark){body{background:#111;color:#eee}.passed{color:#5fd88a}.failed{color:#ff8a9a}}";

fn section(page: &mut String, pair: &PairEvidence, at: Timestamp) {
    let verdict = if pair.passed() { "passed" } else { "failed" };
    let _ = write!(
        page,
        "<h2>{} calls {} as <code>{}</code>: <span class=\"{verdict}\">{verdict}</span></h2>\n<table>\n",
        escape(&pair.caller),
        escape(&pair.callee),
        escape(&pair.alias),
    );
    let mut row = |name: &str, value: String| {
        let _ = writeln!(page, "<tr><th scope=\"row\">{name}</th><td>{value}</td></tr>");
    };
    let or_none = |value: &Option<String>| escape(value.as_deref().unwrap_or("none"));
    row("Protocol", escape(&pair.protocol));
    row("Mode", escape(&pair.mode));
    row("Answer to the marked request", or_none(&pair.answer));
    row("TLS version on the wire", or_none(&pair.tls_version));
    row("Cipher suite on the wire", or_none(&pair.cipher));
    row(
        "Caller's certificate",
        match pair.mode.as_str() {
            "TLS" => "not asked for".to_owned(),
            _ => certificate(pair.caller_certificate.as_ref(), at),
        },
    );
    row("Called service's certificate", certificate(pair.callee_certificate.as_ref(), at));
    row(
        "Mark readable between the sidecars",
        format!("{} times in {} captured bytes", pair.mark_occurrences, pair.captured_bytes),
    );
    row("Plaintext at the inbound port", pair.plaintext.text().to_owned());
    row("TLS without a client certificate", pair.without_certificate.text().to_owned());
    for fault in &pair.faults {
        row("Fault", format!("<strong class=\"failed\">{}</strong>", escape(fault)));
    }
    page.push_str("</table>\n");
}

fn certificate(certificate: Option<&CertificateView>, at: Timestamp) -> String {
    match certificate {
        None => "not seen".to_owned(),
        Some(certificate) => format!(
            "<code>{}</code><br>serial <code>{}</code>, valid from {} to {} ({} min left)",
            escape(&certificate.identity),
            escape(&certificate.serial),
            certificate.not_before,
            certificate.not_after,
            certificate.not_after.since(at).as_secs() / 60,
        ),
    }
}

fn escape(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut escaped, character| {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            other => escaped.push(other),
        }
        escaped
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_inject_markup() {
        assert_eq!(escape("<b>\"&"), "&lt;b&gt;&quot;&amp;");
    }
}
