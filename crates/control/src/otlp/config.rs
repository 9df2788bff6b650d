//! Where spans and metrics go.
//!
//! Source: OpenTelemetry, "OpenTelemetry Protocol Exporter" (configuration options).

use std::{fmt, path::PathBuf, time::Duration};

use http::{HeaderName, HeaderValue, Uri};
use thiserror::Error;

/// How long one message may take. Source: the specification's default.
const TIMEOUT: Duration = Duration::from_secs(10);

/// In which form messages are sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OtlpProtocol {
    /// `grpc`.
    Grpc,
    /// `http/protobuf`.
    #[default]
    HttpProtobuf,
    /// `http/json`.
    HttpJson,
}

/// A header that goes with every message; its value may be secret, and is not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Header {
    /// Its name.
    pub name: HeaderName,
    /// Its value.
    pub value: HeaderValue,
}

impl fmt::Debug for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: …", self.name)
    }
}

/// Where messages of one kind go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtlpTarget {
    /// `http` or `https`, with a host. Of HTTP the path is that of the request; gRPC has its own.
    pub url: Uri,
    /// In which form.
    pub protocol: OtlpProtocol,
    /// What goes with every message.
    pub headers: Vec<Header>,
    /// Whether messages are compressed.
    pub gzip: bool,
    /// How long one message may take: 10 s by default.
    pub timeout: Duration,
    /// PEM of the authorities that are believed in place of the system's.
    pub certificate: Option<PathBuf>,
}

/// Where everything goes; the default is nowhere.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OtlpConfig {
    /// Spans.
    pub traces: Option<OtlpTarget>,
    /// Metrics.
    pub metrics: Option<OtlpTarget>,
}

/// A setting cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum OtlpConfigError {
    /// The endpoint is no URL of HTTP.
    #[error("{0} must be http:// or https:// with a host")]
    Endpoint(String),
    /// There is no such protocol.
    #[error("{name} must be grpc, http/protobuf or http/json, not {value}")]
    Protocol {
        /// The variable.
        name: String,
        /// What it is.
        value: String,
    },
    /// The headers are not a list of `name=value`. What they are is not told.
    #[error("{0} must be a list as name=value,name=value")]
    Headers(String),
    /// There is no such compression.
    #[error("{name} must be gzip or none, not {value}")]
    Compression {
        /// The variable.
        name: String,
        /// What it is.
        value: String,
    },
    /// The timeout is no number of milliseconds.
    #[error("{0} must be a number of milliseconds")]
    Timeout(String),
}

impl OtlpConfig {
    /// Of the variables of OpenTelemetry, which `variable` tells by name, and of `--otlp-endpoint`, which counts for more
    /// than `OTEL_EXPORTER_OTLP_ENDPOINT`. Without an endpoint nothing is sent.
    ///
    /// # Errors
    /// A variable that bears on what is sent cannot be used.
    pub fn read(
        endpoint: Option<&str>,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, OtlpConfigError> {
        Ok(Self {
            traces: target("TRACES", "v1/traces", endpoint, &variable)?,
            metrics: target("METRICS", "v1/metrics", endpoint, &variable)?,
        })
    }
}

fn target(
    signal: &str,
    path: &str,
    endpoint: Option<&str>,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<Option<OtlpTarget>, OtlpConfigError> {
    // An empty variable is as none (OpenTelemetry, "Environment Variable Specification").
    let set =
        |name: &str| variable(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty());
    if set(&format!("OTEL_{signal}_EXPORTER")).is_some_and(|exporter| exporter == "none")
        || set("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"))
    {
        return Ok(None);
    }
    // What is said of the signal counts for more than what is said of all.
    let option = |option: &str| {
        let own = format!("OTEL_EXPORTER_OTLP_{signal}_{option}");
        let of_all = format!("OTEL_EXPORTER_OTLP_{option}");
        set(&own).map(|value| (own, value)).or_else(|| set(&of_all).map(|value| (of_all, value)))
    };
    let own = format!("OTEL_EXPORTER_OTLP_{signal}_ENDPOINT");
    let (name, address, is_base) = match (set(&own), endpoint) {
        (Some(address), _) => (own, address, false),
        (None, Some(address)) => ("--otlp-endpoint".to_owned(), address.to_owned(), true),
        (None, None) => match set("OTEL_EXPORTER_OTLP_ENDPOINT") {
            Some(address) => ("OTEL_EXPORTER_OTLP_ENDPOINT".to_owned(), address, true),
            None => return Ok(None),
        },
    };
    let protocol = match option("PROTOCOL") {
        None => OtlpProtocol::default(),
        Some((name, value)) => match &*value {
            "grpc" => OtlpProtocol::Grpc,
            "http/protobuf" => OtlpProtocol::HttpProtobuf,
            "http/json" => OtlpProtocol::HttpJson,
            _ => return Err(OtlpConfigError::Protocol { name, value }),
        },
    };
    let address = match protocol {
        OtlpProtocol::HttpProtobuf | OtlpProtocol::HttpJson if is_base => {
            format!("{}/{path}", address.trim_end_matches('/'))
        }
        _ => address,
    };
    let url = address.parse::<Uri>().ok().filter(|url| {
        matches!(url.scheme_str(), Some("http" | "https")) && url.host().is_some_and(|host| !host.is_empty())
    });
    let gzip = match option("COMPRESSION") {
        None => false,
        Some((name, value)) => match &*value {
            "gzip" => true,
            "none" => false,
            _ => return Err(OtlpConfigError::Compression { name, value }),
        },
    };
    let timeout = match option("TIMEOUT") {
        None => TIMEOUT,
        Some((name, value)) => match value.parse() {
            Ok(milliseconds) if milliseconds > 0 => Duration::from_millis(milliseconds),
            _ => return Err(OtlpConfigError::Timeout(name)),
        },
    };
    let headers = match option("HEADERS") {
        None => Vec::new(),
        Some((name, value)) => headers(&value).ok_or(OtlpConfigError::Headers(name))?,
    };
    Ok(Some(OtlpTarget {
        url: url.ok_or(OtlpConfigError::Endpoint(name))?,
        protocol,
        headers,
        gzip,
        timeout,
        certificate: option("CERTIFICATE").map(|(_, path)| path.into()),
    }))
}

/// `name=value,name=value`, values percent-encoded (W3C Baggage).
fn headers(text: &str) -> Option<Vec<Header>> {
    let one = |pair: &str| {
        let (name, value) = pair.split_once('=')?;
        let name = HeaderName::try_from(name.trim()).ok()?;
        let mut value = HeaderValue::try_from(decoded(value.trim())?).ok()?;
        value.set_sensitive(true);
        Some(Header { name, value })
    };
    text.split(',').map(str::trim).filter(|pair| !pair.is_empty()).map(one).collect()
}

fn decoded(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || char::from(rest.next()?).to_digit(16);
        bytes.push((digit()? * 16 + digit()?) as u8);
    }
    Some(bytes)
}
