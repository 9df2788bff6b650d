//! Reads the classic form: sections, and below each its keys with their values.

use std::{collections::BTreeMap, net::Ipv4Addr, time::Duration};

use bowline_model::log_driver::{OutputRule, is_on};

use super::{ConfigError, Fault, FluentBit, Input, InputKind, filter};

/// Longest file.
const BYTES_MAX: usize = 1024 * 1024;
/// Most inputs: each has a socket.
const INPUTS_MAX: usize = 32;

const SECTIONS: [&str; 4] = ["SERVICE", "INPUT", "FILTER", "OUTPUT"];
const SERVICE: [&str; 12] = [
    "Daemon",
    "Flush",
    "Grace",
    "Health_Check",
    "HTTP_Listen",
    "HTTP_Port",
    "HTTP_Server",
    "Log_File",
    "Log_Level",
    "Parsers_File",
    "Plugins_File",
    "Streams_File",
];
const TCP: [&str; 9] =
    ["Name", "Alias", "Listen", "Port", "Tag", "Format", "Buffer_Size", "Chunk_Size", "Mem_Buf_Limit"];
const FORWARD: [&str; 10] = [
    "Name",
    "Alias",
    "Listen",
    "Port",
    "Tag",
    "Tag_Prefix",
    "Buffer_Max_Size",
    "Buffer_Chunk_Size",
    "Mem_Buf_Limit",
    "storage.type",
];

/// A key with its value, and its line.
pub(super) type Pair = (String, String, usize);

struct Section {
    name: String,
    line: usize,
    pairs: Vec<Pair>,
}

pub(super) fn parse(
    file: &str,
    text: &str,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<FluentBit, ConfigError> {
    let at = |line: usize| move |fault: Fault| ConfigError { file: file.to_owned(), line, fault };
    if text.len() > BYTES_MAX {
        return Err(at(1)(Fault::Syntax(format!("the file is longer than {BYTES_MAX} bytes"))));
    }
    let mut config = FluentBit::default();
    for section in sections(text, variable).map_err(|(line, fault)| at(line)(fault))? {
        let fail = |(line, fault): (usize, Fault)| at(line)(fault);
        match section.name.to_ascii_uppercase().as_str() {
            "SERVICE" => service(&section, &mut config).map_err(fail)?,
            "INPUT" => {
                if config.inputs.len() == INPUTS_MAX {
                    return Err(at(section.line)(Fault::Syntax(format!(
                        "there are more than {INPUTS_MAX} inputs"
                    ))));
                }
                let input = input(&section, config.inputs.len()).map_err(fail)?;
                config.inputs.push(input);
            }
            "FILTER" => config.filters.push(filter::parse(section.line, &section.pairs).map_err(fail)?),
            _ => {
                let pairs: Vec<_> =
                    section.pairs.iter().map(|(key, value, _)| (key.clone(), value.clone())).collect();
                config.outputs.push(OutputRule::parse(&pairs).map_err(|error| {
                    let culprit = match &error {
                        bowline_model::log_driver::OutputError::UnknownOption { option, .. }
                        | bowline_model::log_driver::OutputError::Value { option, .. } => option.as_str(),
                        _ => "Name",
                    };
                    at(section.line_of(culprit))(error.into())
                })?);
            }
        }
    }
    Ok(config)
}

type Located<T> = Result<T, (usize, Fault)>;

fn sections(text: &str, variable: &dyn Fn(&str) -> Option<String>) -> Located<Vec<Section>> {
    let mut sections: Vec<Section> = Vec::new();
    let mut set = BTreeMap::new();
    for (index, raw) in text.lines().enumerate() {
        let number = index + 1;
        let line = raw.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(name) = line.strip_prefix('[') {
            let name = name
                .strip_suffix(']')
                .ok_or_else(|| (number, Fault::Syntax("a section is written [NAME]".into())))?;
            let name = name.trim();
            if !SECTIONS.iter().any(|known| known.eq_ignore_ascii_case(name)) {
                return Err((number, unknown("the section", name, &SECTIONS)));
            }
            sections.push(Section { name: name.to_owned(), line: number, pairs: Vec::new() });
            continue;
        }
        let lookup = |name: &str| set.get(name).cloned().or_else(|| variable(name));
        if let Some(command) = line.strip_prefix('@') {
            let (name, rest) = command.split_once(char::is_whitespace).unwrap_or((command, ""));
            match name.to_ascii_uppercase().as_str() {
                "SET" => {
                    let (name, value) = rest
                        .split_once('=')
                        .ok_or_else(|| (number, Fault::Syntax("it is written @SET NAME=VALUE".into())))?;
                    let value = expand(value.trim(), &lookup).map_err(|fault| (number, fault))?;
                    set.insert(name.trim().to_owned(), value);
                }
                "INCLUDE" => {
                    let words = "@INCLUDE is not here: put what it would include into this file";
                    return Err((number, Fault::Syntax(words.into())));
                }
                _ => return Err((number, unknown("the command", &format!("@{name}"), &["@SET"]))),
            }
            continue;
        }
        let (key, value) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let value = expand(value.trim(), &lookup).map_err(|fault| (number, fault))?;
        let Some(section) = sections.last_mut() else {
            return Err((number, Fault::Syntax(format!("{key:?} stands before any section"))));
        };
        section.pairs.push((key.to_owned(), value, number));
    }
    Ok(sections)
}

/// Replaces each `${NAME}`.
fn expand(text: &str, variable: &dyn Fn(&str) -> Option<String>) -> Result<String, Fault> {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        out.push_str(before);
        let (name, remainder) =
            after.split_once('}').ok_or_else(|| Fault::Syntax("${ has no }".to_owned()))?;
        out.push_str(&variable(name).ok_or_else(|| Fault::Variable(name.to_owned()))?);
        rest = remainder;
    }
    out.push_str(rest);
    Ok(out)
}

pub(super) fn unknown(what: &'static str, name: &str, known: &[&str]) -> Fault {
    Fault::Unknown { what, name: name.to_owned(), known: known.join(", ") }
}

pub(super) fn value(option: &str, reason: impl Into<String>) -> Fault {
    Fault::Value { option: option.to_owned(), reason: reason.into() }
}

impl Section {
    fn get(&self, wanted: &str) -> Option<(&str, usize)> {
        let found = self.pairs.iter().rev().find(|(key, ..)| key.eq_ignore_ascii_case(wanted));
        found.map(|(_, value, line)| (value.as_str(), *line))
    }

    fn line_of(&self, key: &str) -> usize {
        self.get(key).map_or(self.line, |(_, line)| line)
    }

    fn only(&self, what: &'static str, known: &[&str]) -> Located<()> {
        let is_known = |key: &str| known.iter().any(|known| known.eq_ignore_ascii_case(key));
        match self.pairs.iter().find(|(key, ..)| !is_known(key)) {
            Some((key, _, line)) => Err((*line, unknown(what, key, known))),
            None => Ok(()),
        }
    }
}

fn service(section: &Section, config: &mut FluentBit) -> Located<()> {
    for (key, _, line) in &section.pairs {
        let lower = key.to_ascii_lowercase();
        let is_known = SERVICE.iter().any(|known| known.eq_ignore_ascii_case(key))
            || ["storage.", "scheduler.", "hc_"].iter().any(|prefix| lower.starts_with(prefix));
        if !is_known {
            return Err((*line, unknown("the option of [SERVICE]", key, &SERVICE)));
        }
    }
    if let Some((text, line)) = section.get("Flush") {
        let seconds = text.parse::<f64>().ok().filter(|seconds| (0.001..=3600.0).contains(seconds));
        let seconds = seconds.ok_or_else(|| (line, value("Flush", "it is a number of seconds")))?;
        config.flush = Some(Duration::from_secs_f64(seconds));
    }
    if let Some((text, line)) = section.get("HTTP_Server")
        && is_on(text) == Some(true)
    {
        // Somebody who asks for it is told that it is not there.
        return Err((
            line,
            value("HTTP_Server", "the built-in router has none: the figures are at /metrics"),
        ));
    }
    Ok(())
}

fn input(section: &Section, index: usize) -> Located<Input> {
    let (name, line) = section.get("Name").unwrap_or(("", section.line));
    let name = name.to_ascii_lowercase();
    let (kind, default_port) = match name.as_str() {
        "tcp" => {
            section.only("the option of the input tcp", &TCP)?;
            let kind = match section.get("Format") {
                None => InputKind::Json,
                Some((format, line)) => match format.to_ascii_lowercase().as_str() {
                    "json" => InputKind::Json,
                    "none" => InputKind::Lines,
                    _ => return Err((line, value("Format", "it is json or none"))),
                },
            };
            (kind, 5170)
        }
        "forward" => {
            section.only("the option of the input forward", &FORWARD)?;
            (InputKind::Forward, 24224)
        }
        _ => return Err((line, unknown("the input", &name, &["tcp", "forward"]))),
    };
    let port = match section.get("Port") {
        None => default_port,
        Some((text, line)) => {
            let port = text.parse().ok().filter(|port| *port > 0);
            port.ok_or_else(|| (line, value("Port", "it is a number from 1 to 65535")))?
        }
    };
    let listen = match section.get("Listen") {
        None => Ipv4Addr::UNSPECIFIED,
        Some((text, line)) => match text {
            "localhost" => Ipv4Addr::LOCALHOST,
            text => text.parse().map_err(|_| (line, value("Listen", "it is an IPv4 address")))?,
        },
    };
    let tag = match section.get("Tag") {
        Some((tag, _)) => tag.to_owned(),
        // A forward input leaves tags as they come.
        None if kind == InputKind::Forward => String::new(),
        None => format!("{name}.{index}"),
    };
    Ok(Input { kind, listen, port, tag })
}

/// So that a filter's file can name it.
pub(super) fn matching(pairs: &[Pair]) -> Option<String> {
    pairs.iter().rev().find(|(key, ..)| key.eq_ignore_ascii_case("Match")).map(|(_, value, _)| value.clone())
}
