//! `fluentd`: Docker's driver of that name.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

use super::{Buffering, LogDriverError, allowed, boolean, buffering, bytes, invalid, millis};

const DRIVER: &str = "fluentd";
const OPTIONS: [&str; 16] = [
    "env",
    "env-regex",
    "fluentd-address",
    "fluentd-async",
    "fluentd-async-connect",
    "fluentd-async-reconnect-interval",
    "fluentd-buffer-limit",
    "fluentd-max-retries",
    "fluentd-request-ack",
    "fluentd-retry-wait",
    "fluentd-sub-second-precision",
    "labels",
    "max-buffer-size",
    "mode",
    "tag",
    "fluentd-write-timeout",
];

/// Where the server is, and what it is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Fluentd {
    /// The host of `fluentd-address`; `localhost` by default.
    pub host: String,
    /// Its port; 24224 by default.
    pub port: u16,
    /// `tag`; the container's id by default.
    pub tag: TagTemplate,
    /// `fluentd-request-ack`. On by default, unlike Docker's: without, what was sent may be lost.
    pub acknowledged: bool,
    /// `fluentd-sub-second-precision`; off by default, as Docker's.
    pub sub_second: bool,
    /// `fluentd-retry-wait`; 1 s by default.
    pub retry_wait: Duration,
    /// What happens to a container that writes faster than its lines are taken.
    pub buffering: Buffering,
}

/// A tag with the placeholders of Docker's log tags: `{{.Name}}`, `{{.ID}}`, `{{.FullID}}`, `{{.ImageName}}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TagTemplate(String);

const PLACEHOLDERS: [&str; 4] = ["{{.ID}}", "{{.FullID}}", "{{.Name}}", "{{.ImageName}}"];

impl TagTemplate {
    /// The tag of a container.
    pub fn fill(&self, id: &str, name: &str, image: &str) -> String {
        let short: String = id.chars().take(12).collect();
        PLACEHOLDERS
            .into_iter()
            .zip([short.as_str(), id, name, image])
            .fold(self.0.clone(), |tag, (placeholder, value)| tag.replace(placeholder, value))
    }
}

impl Fluentd {
    pub(super) fn parse(options: &BTreeMap<String, String>) -> Result<Self, LogDriverError> {
        allowed(DRIVER, options, &OPTIONS)?;
        let address = options.get("fluentd-address").map_or("localhost:24224", String::as_str);
        let (host, port) = address_of(address)
            .ok_or_else(|| invalid(DRIVER, "fluentd-address", "it is HOST:PORT or tcp://HOST:PORT"))?;
        let template = options.get("tag").map_or("{{.ID}}", String::as_str);
        let rest = PLACEHOLDERS.into_iter().fold(template.to_owned(), |rest, known| rest.replace(known, ""));
        if rest.contains("{{") {
            let reason = format!("known placeholders are {}", PLACEHOLDERS.join(", "));
            return Err(invalid(DRIVER, "tag", &reason));
        }
        if let Some(limit) = options.get("fluentd-buffer-limit")
            && bytes(limit).is_none()
        {
            return Err(invalid(DRIVER, "fluentd-buffer-limit", "it is a size: 1m"));
        }
        for switch in ["fluentd-async", "fluentd-async-connect"] {
            boolean(DRIVER, options, switch, false)?;
        }
        Ok(Self {
            host,
            port,
            tag: TagTemplate(template.to_owned()),
            acknowledged: boolean(DRIVER, options, "fluentd-request-ack", true)?,
            sub_second: boolean(DRIVER, options, "fluentd-sub-second-precision", false)?,
            retry_wait: millis(DRIVER, options, "fluentd-retry-wait", Duration::from_secs(1))?,
            buffering: buffering(DRIVER, options)?,
        })
    }
}

fn address_of(text: &str) -> Option<(String, u16)> {
    let text = text.strip_prefix("tcp://").unwrap_or(text);
    if text.is_empty() || text.contains('/') {
        return None;
    }
    match text.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() => Some((host.to_owned(), port.parse().ok()?)),
        Some(_) => None,
        None => Some((text.to_owned(), 24224)),
    }
}
