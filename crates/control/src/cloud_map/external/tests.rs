use bowline_model::clock::Timestamp;

use super::*;

fn instance(attributes: &[(&str, &str)]) -> Instance {
    Instance {
        id: "a".into(),
        service_id: "srv-a".into(),
        attributes: attributes.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect(),
        creator_request_id: None,
        custom_health: None,
        registered_at: Timestamp::from_secs(0),
    }
}

#[test]
fn an_instance_is_where_its_attributes_say() {
    let host = |attributes: &[(&str, &str)]| match target(&instance(attributes)).map(|found| found.host) {
        Some(Host::Address(address)) => address.to_string(),
        Some(Host::Name(name)) => name.to_owned(),
        None => "nowhere".to_owned(),
    };
    let (v4, v6) = (("AWS_INSTANCE_IPV4", "192.0.2.1"), ("AWS_INSTANCE_IPV6", "2001:db8::1"));
    let cname = ("AWS_INSTANCE_CNAME", "db.example.");
    assert_eq!(host(&[v4, v6, cname]), "192.0.2.1");
    assert_eq!(host(&[v6, cname]), "2001:db8::1");
    assert_eq!(host(&[cname]), "db.example");
    assert_eq!(host(&[("AWS_INSTANCE_IPV4", "127.0.0.1")]), "127.0.0.1", "a Redis on this machine");
    assert_eq!(host(&[("colour", "blue")]), "nowhere");
    for never in ["169.254.169.254", "198.18.0.2", "0.0.0.0", "224.0.0.1"] {
        assert_eq!(host(&[("AWS_INSTANCE_IPV4", never), cname]), "nowhere", "{never}");
    }
    assert_eq!(target(&instance(&[v4, cname])).and_then(|found| found.cname), Some("db.example"));
}

#[test]
fn a_service_is_called_what_hosts_can_be_called() {
    assert_eq!(hostnames("shop", "DB"), Some(vec!["db".to_owned(), "db.shop".to_owned()]));
    assert_eq!(hostnames("shop", "d b"), None);
    assert_eq!(hostnames("shop", &"x".repeat(64)), None);
}
