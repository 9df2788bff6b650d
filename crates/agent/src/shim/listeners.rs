//! Who listens on the host's network.

use std::fs;

/// Whether some process listens on `port` of all IPv4 addresses.
pub(crate) fn taken_by_wildcard(port: u16) -> bool {
    fs::read_to_string("/proc/self/net/tcp").is_ok_and(|table| wildcard_listens(&table, port))
}

/// Reads `/proc/net/tcp` (proc(5)): local address and port in hexadecimal, state 0A is LISTEN.
fn wildcard_listens(table: &str, port: u16) -> bool {
    let wanted = format!("00000000:{port:04X}");
    table.lines().skip(1).any(|line| {
        let mut fields = line.split_whitespace().skip(1);
        fields.next() == Some(wanted.as_str()) && fields.nth(1) == Some("0A")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_a_listener_on_all_addresses_only() {
        let table = "  sl  local_address rem_address   st\n\
             0: 00000000:1F90 00000000:0000 0A 00000000:00000000\n\
             1: 0100007F:1F91 00000000:0000 0A 00000000:00000000\n\
             2: 00000000:1F92 0100007F:0001 01 00000000:00000000\n";
        assert!(wildcard_listens(table, 8080));
        assert!(!wildcard_listens(table, 8081));
        assert!(!wildcard_listens(table, 8082));
    }
}
