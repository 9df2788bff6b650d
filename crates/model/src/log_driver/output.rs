//! Fluent Bit's outputs, as an `[OUTPUT]` section or the options of `awsfirelens` say them.
//!
//! Source: Fluent Bit's manual, "Outputs". Names of options are compared without regard to case, as there.

use thiserror::Error;

use super::{size, value::is_on};

/// Outputs that are here.
pub const OUTPUTS: [&str; 5] = ["cloudwatch_logs", "forward", "http", "null", "stdout"];

/// Options that every output has.
const COMMON: [&str; 8] = [
    "Alias",
    "Log_Level",
    "Match",
    "Name",
    "net.keepalive",
    "Retry_Limit",
    "storage.total_limit_size",
    "Workers",
];
const HTTP: [&str; 16] = [
    "compress",
    "Format",
    "Header",
    "Host",
    "http_Passwd",
    "http_User",
    "json_date_format",
    "json_date_key",
    "Port",
    "tls",
    "tls.ca_file",
    "tls.verify",
    "tls.vhost",
    "URI",
    "http_method",
    "header_tag",
];
const FORWARD: [&str; 9] = [
    "compress",
    "Host",
    "Port",
    "Require_ack_response",
    "Tag",
    "Time_as_Integer",
    "tls",
    "tls.ca_file",
    "tls.verify",
];
const CLOUDWATCH: [&str; 6] =
    ["auto_create_group", "log_group_name", "log_key", "log_stream_name", "log_stream_prefix", "region"];
const STDOUT: [&str; 3] = ["Format", "json_date_format", "json_date_key"];

/// An output with what goes to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutputRule {
    /// `Match`: tags, `*` for any characters. `None` where it was not said.
    pub matches: Option<String>,
    /// `Retry_Limit`.
    pub retry: RetryLimit,
    /// `storage.total_limit_size`, in bytes: how much may wait for it.
    pub limit_bytes: Option<u64>,
    /// Where it goes.
    pub output: Output,
}

/// How often it is tried again to deliver what was not taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RetryLimit {
    /// Until it is taken, or has to make room. The default; Fluent Bit's is one.
    #[default]
    Unlimited,
    /// So often.
    Times(u32),
}

/// A place that records go to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// `http`.
    Http(HttpOutput),
    /// `forward`.
    Forward(ForwardOutput),
    /// `cloudwatch_logs`.
    CloudWatchLogs(CloudWatchOutput),
    /// `stdout`: the log router's own lines.
    Stdout,
    /// `null`: nowhere.
    Null,
}

/// `http`.
#[derive(Clone, PartialEq, Eq)]
pub struct HttpOutput {
    /// `Host`; 127.0.0.1 by default.
    pub host: String,
    /// `Port`; 80 by default.
    pub port: u16,
    /// `URI`; `/` by default.
    pub uri: String,
    /// `Format`.
    pub format: BodyFormat,
    /// `compress gzip`.
    pub gzip: bool,
    /// `Header`s.
    pub headers: Vec<(String, String)>,
    /// `header_tag`: the header that the tag is told in.
    pub header_tag: Option<String>,
    /// `http_User` and `http_Passwd`: basic authentication.
    pub basic: Option<(String, String)>,
    /// `http_method PUT`; POST by default.
    pub is_put: bool,
    /// `json_date_key`; `date` by default, `None` for `false`.
    pub date_key: Option<String>,
    /// `json_date_format`.
    pub date_format: DateFormat,
    /// `tls on`.
    pub tls: Option<TlsSettings>,
}

/// Headers and passwords are often secrets.
impl std::fmt::Debug for HttpOutput {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { host, port, uri, format, .. } = self;
        f.debug_struct("HttpOutput")
            .field("host", host)
            .field("port", port)
            .field("uri", uri)
            .field("format", format)
            .finish_non_exhaustive()
    }
}

/// How records are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BodyFormat {
    /// One array of objects. The default; Fluent Bit's is MessagePack, which is not here.
    #[default]
    Json,
    /// An object a line.
    JsonLines,
    /// One object after the other.
    JsonStream,
}

/// How a record's time is written (`json_date_format`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DateFormat {
    /// Seconds with a fraction.
    #[default]
    Double,
    /// Whole seconds.
    Epoch,
    /// Whole milliseconds.
    EpochMs,
    /// `2026-11-21T03:47:48.000Z`.
    Iso8601,
    /// `2026-11-21 03:47:48.000`.
    JavaSqlTimestamp,
}

/// TLS towards a receiver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsSettings {
    /// `tls.verify`; on by default.
    pub verify: bool,
    /// `tls.ca_file`: PEM of whom to believe, in place of the system's.
    pub ca_file: Option<String>,
    /// `tls.vhost`: the name in the certificate, in place of the host.
    pub name: Option<String>,
}

/// `forward`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForwardOutput {
    /// `Host`; 127.0.0.1 by default.
    pub host: String,
    /// `Port`; 24224 by default.
    pub port: u16,
    /// `Require_ack_response`. On by default, unlike Fluent Bit's: without, what was sent may be lost.
    pub acknowledged: bool,
    /// `Tag`: in place of the records' own.
    pub tag: Option<String>,
    /// `Time_as_Integer`: whole seconds.
    pub whole_seconds: bool,
    /// `compress gzip`.
    pub gzip: bool,
    /// `tls on`.
    pub tls: Option<TlsSettings>,
}

/// `cloudwatch_logs`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloudWatchOutput {
    /// `log_group_name`.
    pub group: String,
    /// `log_stream_name`; else the tag after the prefix.
    pub stream: Option<String>,
    /// `log_stream_prefix`.
    pub stream_prefix: String,
    /// `auto_create_group`; off by default.
    pub create_group: bool,
    /// `log_key`: this key's value alone is the event, not the whole record.
    pub key: Option<String>,
}

/// Why an output's options are refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum OutputError {
    /// There is no such output.
    #[error("there is no output {0:?} here: known are {known}", known = OUTPUTS.join(", "))]
    UnknownOutput(String),
    /// `Name` is missing.
    #[error("an output has no Name: known are {known}", known = OUTPUTS.join(", "))]
    NoName,
    /// The output has no such option.
    #[error("the output {output} has no option {option} here: known are {known}")]
    UnknownOption {
        /// The output.
        output: String,
        /// The option.
        option: String,
        /// Options there are.
        known: String,
    },
    /// An option's value is none.
    #[error("the output {output}'s option {option}: {reason}")]
    Value {
        /// The output.
        output: String,
        /// The option.
        option: String,
        /// What is wrong, and what is right.
        reason: String,
    },
}

/// Options being read.
struct Options<'a> {
    output: &'a str,
    pairs: &'a [(String, String)],
}

impl<'a> Options<'a> {
    fn get(&self, wanted: &str) -> Option<&'a str> {
        let found = self.pairs.iter().rev().find(|(name, _)| name.eq_ignore_ascii_case(wanted));
        found.map(|(_, value)| value.trim())
    }

    fn fault(&self, option: &str, reason: impl Into<String>) -> OutputError {
        OutputError::Value {
            output: self.output.to_owned(),
            option: option.to_owned(),
            reason: reason.into(),
        }
    }

    fn only(&self, known: &[&str]) -> Result<(), OutputError> {
        let is_known = |name: &str| {
            known.iter().chain(&COMMON).any(|known| known.eq_ignore_ascii_case(name))
                || name.to_ascii_lowercase().starts_with("net.")
        };
        match self.pairs.iter().find(|(name, _)| !is_known(name)) {
            Some((unknown, _)) => Err(OutputError::UnknownOption {
                output: self.output.to_owned(),
                option: unknown.clone(),
                known: known.iter().chain(&COMMON).copied().collect::<Vec<_>>().join(", "),
            }),
            None => Ok(()),
        }
    }

    fn switch(&self, option: &str, default: bool) -> Result<bool, OutputError> {
        let Some(text) = self.get(option) else { return Ok(default) };
        is_on(text).ok_or_else(|| self.fault(option, "it is on or off"))
    }

    fn port(&self, default: u16) -> Result<u16, OutputError> {
        let Some(text) = self.get("Port") else { return Ok(default) };
        let port = text.parse().ok().filter(|port| *port > 0);
        port.ok_or_else(|| self.fault("Port", "it is a number from 1 to 65535"))
    }

    fn host(&self) -> Result<String, OutputError> {
        let host = self.get("Host").unwrap_or("127.0.0.1");
        let is_host = !host.is_empty()
            && host.len() <= 253
            && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte));
        if !is_host {
            return Err(self.fault("Host", "it is a name or an address, without a scheme, port or path"));
        }
        Ok(host.trim_start_matches('[').trim_end_matches(']').to_owned())
    }

    fn tls(&self) -> Result<Option<TlsSettings>, OutputError> {
        let settings = TlsSettings {
            verify: self.switch("tls.verify", true)?,
            ca_file: self.get("tls.ca_file").map(str::to_owned),
            name: self.get("tls.vhost").map(str::to_owned),
        };
        Ok(self.switch("tls", false)?.then_some(settings))
    }

    fn gzip(&self) -> Result<bool, OutputError> {
        match self.get("compress") {
            None => Ok(false),
            Some("gzip") => Ok(true),
            Some(other) => is_on(other)
                .filter(|on| !on)
                .ok_or_else(|| self.fault("compress", "it is gzip, or is left out")),
        }
    }

    fn date(&self) -> Result<(Option<String>, DateFormat), OutputError> {
        let key = match self.get("json_date_key") {
            None => Some("date".to_owned()),
            Some("false") => None,
            Some(key) => Some(key.to_owned()),
        };
        let format = match self.get("json_date_format") {
            None | Some("double") => DateFormat::Double,
            Some("epoch") => DateFormat::Epoch,
            Some("epoch_ms") => DateFormat::EpochMs,
            Some("iso8601") => DateFormat::Iso8601,
            Some("java_sql_timestamp") => DateFormat::JavaSqlTimestamp,
            Some(_) => {
                let known = "it is double, epoch, epoch_ms, iso8601 or java_sql_timestamp";
                return Err(self.fault("json_date_format", known));
            }
        };
        Ok((key, format))
    }
}

impl OutputRule {
    /// Reads an output's options.
    ///
    /// # Errors
    /// See [`OutputError`].
    pub fn parse(pairs: &[(String, String)]) -> Result<Self, OutputError> {
        let of_none = Options { output: "", pairs };
        let name = of_none.get("Name").ok_or(OutputError::NoName)?.to_ascii_lowercase();
        let options = Options { output: &name, pairs };
        let output = match name.as_str() {
            "http" => Output::Http(http(&options)?),
            "forward" => Output::Forward(forward(&options)?),
            "cloudwatch_logs" | "cloudwatch" => Output::CloudWatchLogs(cloudwatch(&options)?),
            "stdout" => {
                options.only(&STDOUT)?;
                Output::Stdout
            }
            "null" => {
                options.only(&[])?;
                Output::Null
            }
            _ => return Err(OutputError::UnknownOutput(name)),
        };
        let retry = match options.get("Retry_Limit").map(str::to_ascii_lowercase).as_deref() {
            None | Some("false" | "no_limits") => RetryLimit::Unlimited,
            Some("no_retries") => RetryLimit::Times(0),
            Some(text) => RetryLimit::Times(text.parse().map_err(|_| {
                options.fault("Retry_Limit", "it is a number, no_limits, False or no_retries")
            })?),
        };
        let limit_bytes = match options.get("storage.total_limit_size") {
            None => None,
            Some(text) => Some(
                size::bytes(text)
                    .filter(|bytes| *bytes > 0)
                    .ok_or_else(|| options.fault("storage.total_limit_size", "it is a size: 64M"))?,
            ),
        };
        Ok(Self { matches: options.get("Match").map(str::to_owned), retry, limit_bytes, output })
    }
}

fn http(options: &Options<'_>) -> Result<HttpOutput, OutputError> {
    options.only(&HTTP)?;
    let format = match options.get("Format") {
        None | Some("json") => BodyFormat::Json,
        Some("json_lines") => BodyFormat::JsonLines,
        Some("json_stream") => BodyFormat::JsonStream,
        Some(_) => return Err(options.fault("Format", "it is json, json_lines or json_stream here")),
    };
    let uri = options.get("URI").filter(|uri| !uri.is_empty()).unwrap_or("/");
    if !uri.starts_with('/') || uri.bytes().any(|byte| !(0x21..=0x7e).contains(&byte)) {
        return Err(options.fault("URI", "it begins with / and has no space"));
    }
    let mut headers = Vec::new();
    for (name, text) in options.pairs {
        if !name.eq_ignore_ascii_case("Header") {
            continue;
        }
        // `Header Name Value`; a colon after the name is often written.
        let (key, value) = text.trim().split_once([' ', '\t']).unwrap_or((text.trim(), ""));
        let key = key.trim_end_matches(':');
        let is_name = !key.is_empty()
            && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte));
        let is_value = value.bytes().all(|byte| (0x20..0x7f).contains(&byte) || byte == b'\t');
        if !is_name || !is_value {
            return Err(options.fault("Header", "it is a name, a space and a value"));
        }
        headers.push((key.to_owned(), value.trim().to_owned()));
    }
    let is_put = match options.get("http_method").map(str::to_ascii_uppercase).as_deref() {
        None | Some("POST") => false,
        Some("PUT") => true,
        Some(_) => return Err(options.fault("http_method", "it is POST or PUT")),
    };
    let (date_key, date_format) = options.date()?;
    Ok(HttpOutput {
        host: options.host()?,
        port: options.port(80)?,
        uri: uri.to_owned(),
        format,
        gzip: options.gzip()?,
        headers,
        header_tag: options.get("header_tag").map(str::to_owned),
        basic: options
            .get("http_User")
            .map(|user| (user.to_owned(), options.get("http_Passwd").unwrap_or_default().to_owned())),
        is_put,
        date_key,
        date_format,
        tls: options.tls()?,
    })
}

fn forward(options: &Options<'_>) -> Result<ForwardOutput, OutputError> {
    options.only(&FORWARD)?;
    Ok(ForwardOutput {
        host: options.host()?,
        port: options.port(24224)?,
        acknowledged: options.switch("Require_ack_response", true)?,
        tag: options.get("Tag").map(str::to_owned),
        whole_seconds: options.switch("Time_as_Integer", false)?,
        gzip: options.gzip()?,
        tls: options.tls()?,
    })
}

fn cloudwatch(options: &Options<'_>) -> Result<CloudWatchOutput, OutputError> {
    options.only(&CLOUDWATCH)?;
    let group = options.get("log_group_name").filter(|name| !name.is_empty());
    let group = group.ok_or_else(|| options.fault("log_group_name", "it must be there"))?;
    Ok(CloudWatchOutput {
        group: group.to_owned(),
        stream: options.get("log_stream_name").map(str::to_owned),
        stream_prefix: options.get("log_stream_prefix").unwrap_or_default().to_owned(),
        create_group: options.switch("auto_create_group", false)?,
        key: options.get("log_key").map(str::to_owned),
    })
}

/// Whether a tag matches a `Match`: `*` stands for any characters, none included.
pub fn matches_tag(pattern: &str, tag: &str) -> bool {
    let mut pieces = pattern.split('*');
    let first = pieces.next().unwrap_or_default();
    let Some(mut rest) = tag.strip_prefix(first) else { return false };
    let mut pieces: Vec<&str> = pieces.collect();
    let Some(last) = pieces.pop() else { return rest.is_empty() };
    for piece in pieces {
        match rest.find(piece) {
            Some(at) => rest = &rest[at + piece.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}
