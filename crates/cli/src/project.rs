//! A template and what stands beside it, read into a stack.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};

/// A template file with its text.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    /// As the user named it.
    pub(crate) path: PathBuf,
    /// Its text.
    pub(crate) text: String,
}

/// Reads `template`, and `overlay` or what stands beside the template as
/// `NAME.bowline.yaml` (`.yml`, `.json`).
pub(crate) fn read_sources(template: &Path, overlay: Option<&Path>) -> anyhow::Result<Vec<Source>> {
    let mut sources = vec![read(template)?];
    let beside = || {
        let stem = template.file_stem()?.to_str()?;
        ["yaml", "yml", "json"]
            .iter()
            .map(|extension| template.with_file_name(format!("{stem}.bowline.{extension}")))
            .find(|path| path.is_file())
    };
    if let Some(overlay) = overlay.map(Path::to_owned).or_else(beside) {
        sources.push(read(&overlay)?);
    }
    Ok(sources)
}

fn read(path: &Path) -> anyhow::Result<Source> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("cannot read the template {}", path.display()))?;
    Ok(Source { path: path.to_owned(), text })
}

/// The stack's name where none is given: that of the template's directory (or
/// its file, if that says more than `template`), as CloudFormation allows it:
/// letters, digits and hyphens, a letter first, at most 128.
pub(crate) fn stack_name(template: &Path) -> String {
    let stem = template.file_stem().and_then(|stem| stem.to_str()).unwrap_or("stack");
    let absolute = std::path::absolute(template).unwrap_or_else(|_| template.to_owned());
    let directory = absolute.parent().and_then(Path::file_name).and_then(|name| name.to_str());
    let source = match (stem, directory) {
        ("template" | "stack" | "cloudformation", Some(directory)) => directory,
        _ => stem,
    };
    let mut name: String =
        source.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).take(128).collect();
    if !name.starts_with(|c: char| c.is_ascii_alphabetic()) {
        name.insert_str(0, "stack-");
        name.truncate(128);
    }
    name
}

/// Reads `KEY=VALUE` arguments.
pub(crate) fn key_values(option: &str, values: &[String]) -> anyhow::Result<BTreeMap<String, String>> {
    let mut map = BTreeMap::new();
    for value in values {
        let Some((key, value)) = value.split_once('=') else {
            bail!("{option} takes KEY=VALUE, not {value:?}");
        };
        if key.is_empty() {
            bail!("{option} takes KEY=VALUE; the key of {value:?} is empty");
        }
        if map.insert(key.to_owned(), value.to_owned()).is_some() {
            bail!("{option} {key} is given twice");
        }
    }
    Ok(map)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stack_is_named_after_what_says_most() {
        assert_eq!(stack_name(Path::new("/x/two-services/template.yaml")), "two-services");
        assert_eq!(stack_name(Path::new("/x/y/my_shop.json")), "my-shop");
        assert_eq!(stack_name(Path::new("/x/9lives/template.yaml")), "stack-9lives");
    }

    #[test]
    fn key_values_are_checked() {
        assert!(key_values("--parameter", &["a".into()]).is_err());
        assert!(key_values("--parameter", &["=a".into()]).is_err());
        assert!(key_values("--parameter", &["a=1".into(), "a=2".into()]).is_err());
        let read = key_values("--parameter", &["a=b=c".into()]).expect("reads");
        assert_eq!(read["a"], "b=c");
    }
}
