//! `bowline proxy --config FILE`: the stream's resources in a file.
//!
//! YAML or JSON (JSON is YAML). Described for users in
//! `docs/src/proxy-config.md`.

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use bowline_discovery::resource::Resource;
use serde::Deserialize;
use serde_json::Value;
use thiserror::Error;
use yaml_rust2::{Yaml, YamlLoader};

/// Longest configuration file, in bytes.
const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Deepest nesting.
const DEPTH_MAX: usize = 32;
/// Most values, aliases written out.
const VALUES_MAX: usize = 2_000_000;

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
    // The loader recurses: nesting is bounded before it sees the text.
    if text.bytes().filter(|byte| matches!(byte, b'[' | b'{')).count() > VALUES_MAX {
        return Err(ConfigFileError::TooLarge { path: path.to_owned(), what: "2,000,000 values" });
    }
    let documents = YamlLoader::load_from_str(text)
        .map_err(|error| ConfigFileError::Syntax { path: path.to_owned(), message: error.to_string() })?;
    let [document] = &documents[..] else {
        return Err(form(format!("one YAML document is expected, {} were found", documents.len())));
    };
    let mut left = VALUES_MAX;
    let value = to_json(document, 0, &mut left).map_err(|what| match what {
        Unreadable::Large(what) => ConfigFileError::TooLarge { path: path.to_owned(), what },
        Unreadable::Form(message) => form(message),
    })?;
    let Value::Object(mut object) = value else {
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

enum Unreadable {
    Large(&'static str),
    Form(String),
}

fn to_json(yaml: &Yaml, depth: usize, left: &mut usize) -> Result<Value, Unreadable> {
    if depth > DEPTH_MAX {
        return Err(Unreadable::Large("nested 32 deep"));
    }
    *left = left.checked_sub(1).ok_or(Unreadable::Large("2,000,000 values"))?;
    Ok(match yaml {
        Yaml::String(text) => Value::String(text.clone()),
        Yaml::Integer(number) => (*number).into(),
        Yaml::Real(text) => {
            let number: f64 = text.parse().map_err(|_| Unreadable::Form(format!("{text} is no number")))?;
            serde_json::Number::from_f64(number)
                .map(Value::Number)
                .ok_or_else(|| Unreadable::Form(format!("{text} is no finite number")))?
        }
        Yaml::Boolean(value) => (*value).into(),
        Yaml::Null => Value::Null,
        Yaml::Array(items) => {
            Value::Array(items.iter().map(|item| to_json(item, depth + 1, left)).collect::<Result<_, _>>()?)
        }
        Yaml::Hash(entries) => {
            let mut object = serde_json::Map::new();
            for (key, value) in entries {
                let Yaml::String(key) = key else {
                    return Err(Unreadable::Form(format!("a key must be a text, not {key:?}")));
                };
                object.insert(key.clone(), to_json(value, depth + 1, left)?);
            }
            Value::Object(object)
        }
        Yaml::Alias(_) | Yaml::BadValue => {
            return Err(Unreadable::Form("a value that YAML does not define".to_owned()));
        }
    })
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
        assert_eq!(examples.len(), 2);
        for example in examples {
            let file = parse_text(example).expect("reads");
            assert!(file.resources.len() >= 6);
        }
    }
}
