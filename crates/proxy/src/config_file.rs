//! `bowline proxy --config FILE`: the stream's resources in a file.
//!
//! YAML or JSON (JSON is YAML). Described for users in
//! `docs/src/proxy-config.md`.

mod yaml;

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use bowline_discovery::resource::Resource;
use serde::Deserialize;
use serde_json::Value;
use thiserror::Error;

use self::yaml::Unreadable;

/// Longest configuration file, in bytes.
const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// The file's content.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ConfigFile {
    /// The proxy's name, for logs.
    #[serde(default)]
    pub(crate) node: String,
    /// Each an object with one key, the resource's type.
    pub(crate) resources: Vec<Resource>,
}

/// Why a configuration file is not applied.
#[derive(Debug, Error)]
pub enum ConfigFileError {
    /// It cannot be read.
    #[error("{} cannot be read", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is too long, too deep or holds too much.
    #[error("{} is larger than what is accepted: {what}", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Which bound.
        what: &'static str,
    },
    /// It is no YAML.
    #[error("{} is no YAML: {message}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// What is wrong, with line and column.
        message: String,
    },
    /// Its content is not of the described form.
    #[error("{}: {message}", path.display())]
    Form {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// Resources that cannot be applied.
    #[error("{}: {}", path.display(), reasons.join("; "))]
    Rejected {
        /// The file.
        path: PathBuf,
        /// Type, name, field and reason of each.
        reasons: Vec<String>,
    },
}

/// Reads a configuration file. Relative paths of certificates in it are
/// relative to the file's directory.
pub(crate) fn read(path: &Path) -> Result<ConfigFile, ConfigFileError> {
    let unreadable = |source| ConfigFileError::Read { path: path.to_owned(), source };
    let mut text = String::new();
    File::open(path)
        .and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text))
        .map_err(unreadable)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(ConfigFileError::TooLarge { path: path.to_owned(), what: "16 MiB" });
    }
    let mut file = parse(path, &text)?;
    let directory = path.parent().unwrap_or(Path::new(""));
    for resource in &mut file.resources {
        if let Resource::Identity(identity) = resource
            && let Some(bowline_discovery::v1::identity::Source::Files(files)) = &mut identity.source
        {
            for file in [&mut files.certificate_chain, &mut files.private_key] {
                *file = directory.join(&*file).to_string_lossy().into_owned();
            }
        }
    }
    Ok(file)
}

pub(crate) fn parse(path: &Path, text: &str) -> Result<ConfigFile, ConfigFileError> {
    let form = |message: String| ConfigFileError::Form { path: path.to_owned(), message };
    let documents = yaml::read(text).map_err(|unreadable| match unreadable {
        Unreadable::Syntax(message) => ConfigFileError::Syntax { path: path.to_owned(), message },
        Unreadable::Large(what) => ConfigFileError::TooLarge { path: path.to_owned(), what },
        Unreadable::Form(message) => form(message),
    })?;
    let count = documents.len();
    let [document] = <[Value; 1]>::try_from(documents)
        .map_err(|_| form(format!("one YAML document is expected, {count} were found")))?;
    let Value::Object(mut object) = document else {
        return Err(form("an object with `node` and `resources` is expected".to_owned()));
    };
    // Resources one by one, so that a mistake is named with its place.
    let Some(Value::Array(listed)) = object.remove("resources") else {
        return Err(form("`resources` must be a list".to_owned()));
    };
    let resources = listed
        .into_iter()
        .enumerate()
        .map(|(index, value)| {
            serde_json::from_value(value).map_err(|error| form(format!("resources[{index}]: {error}")))
        })
        .collect::<Result<_, _>>()?;
    let node = match object.remove("node") {
        None => String::new(),
        Some(Value::String(node)) => node,
        Some(_) => return Err(form("`node` must be a text".to_owned())),
    };
    match object.keys().next() {
        Some(unknown) => Err(form(format!("{unknown:?} is unknown; `node` and `resources` are allowed"))),
        None => Ok(ConfigFile { node, resources }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_text(text: &str) -> Result<ConfigFile, ConfigFileError> {
        parse(Path::new("proxy.yaml"), text)
    }

    #[test]
    fn yaml_and_json_say_the_same() {
        let yaml = "node: a\nresources:\n- trust: {name: d, rootsPem: x}\n- cluster:\n    name: c\n    protocol: GRPC\n    kind: {local: {port: 80}}\n";
        let json = r#"{"node":"a","resources":[{"trust":{"name":"d","rootsPem":"x"}},
            {"cluster":{"name":"c","protocol":"GRPC","kind":{"local":{"port":80}}}}]}"#;
        let from_yaml = parse_text(yaml).expect("reads");
        assert_eq!(from_yaml, parse_text(json).expect("reads"));
        assert_eq!(from_yaml.resources[1].name(), "c");
    }

    #[test]
    fn mistakes_are_named() {
        for (text, part) in [
            ("resources: [{cluster: {nane: c}}]", "resources[0]: unknown field `nane`"),
            ("resources: [{clutser: {name: c}}]", "resources[0]: unknown variant `clutser`"),
            ("resources: []\nnodes: x", "\"nodes\" is unknown"),
            ("resources: 1", "must be a list"),
            ("a: [", "is no YAML"),
            ("", "one YAML document"),
        ] {
            let message = parse_text(text).expect_err("refused").to_string();
            assert!(message.contains(part), "{message:?} has no {part:?}");
        }
    }

    #[test]
    fn the_documented_examples_are_read() {
        let page = include_str!("../../../docs/src/proxy-config.md");
        let examples: Vec<_> =
            page.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
        let counts: Vec<_> =
            examples.iter().map(|example| parse_text(example).expect("reads").resources.len()).collect();
        assert_eq!(counts, [6, 6, 2, 3]);
    }
}
