//! A task's `/etc/hosts` and `/etc/resolv.conf`.

use std::{
    fmt::Write as _,
    fs::{File, OpenOptions},
    io,
    net::Ipv4Addr,
    os::unix::fs::FileExt,
    path::Path,
};

use bowline_plumbing::shim_link::HostsEntry;

/// The text of a task's hosts file.
pub(crate) fn hosts_text(hostname: &str, own: Ipv4Addr, entries: &[HostsEntry]) -> String {
    let mut text =
        format!("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n{own}\t{hostname}\n");
    for entry in entries {
        let names: Vec<_> = entry.names.iter().map(String::as_str).filter(|name| is_name(name)).collect();
        if !names.is_empty() {
            let _ = writeln!(text, "{}\t{}", entry.address, names.join(" "));
        }
    }
    text
}

/// A name that cannot break out of its line.
fn is_name(name: &str) -> bool {
    (1..=253).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'))
}

/// The text of a task's `resolv.conf`.
pub(crate) fn resolv_text(server: Ipv4Addr) -> String {
    format!("nameserver {server}\noptions timeout:2 attempts:2\n")
}

/// Writes `text` into the file in place, as it is mounted: in one write, so
/// that a reader sees old lines or new ones but never an empty file.
pub(crate) fn write_in_place(path: &Path, text: &str) -> io::Result<()> {
    let file: File = OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
    let old = usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?;
    let mut bytes = text.as_bytes().to_vec();
    let length = bytes.len() as u64;
    bytes.resize(bytes.len().max(old), b'\n');
    file.write_all_at(&bytes, 0)?;
    file.set_len(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_in_place_longer_and_shorter() {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("hosts");
        for text in ["one\n", "one\ntwo\n", "o\n"] {
            write_in_place(&path, text).expect("writes");
            assert_eq!(std::fs::read_to_string(&path).expect("reads"), text);
        }
    }

    #[test]
    fn a_name_cannot_add_a_line() {
        let entry =
            |name: &str| HostsEntry { address: Ipv4Addr::new(198, 18, 1, 1), names: vec![name.to_owned()] };
        let text = hosts_text("h", Ipv4Addr::LOCALHOST, &[entry("a\n1.2.3.4 bank"), entry("b.local")]);
        assert!(!text.contains("bank"));
        assert!(text.ends_with("198.18.1.1\tb.local\n"));
    }
}
