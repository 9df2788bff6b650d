use std::sync::Arc;

use bowline_model::{arn::Scope, clock::Timestamp};

use super::*;
use crate::{
    registry::Namespace,
    store::{EmbeddedStore, Store},
};

fn namespace(name: &str) -> Namespace {
    let arn = Scope::default().arn("servicediscovery", format_args!("namespace/{name}"));
    Namespace {
        arn,
        id: format!("ns-{name}"),
        name: name.to_owned(),
        private_dns: false,
        description: None,
        tags: Vec::new(),
        created_at: Timestamp::default(),
        vpc: None,
        hosted_zone_id: None,
        soa_ttl: None,
        creator_request_id: None,
    }
}

fn store(directory: &tempfile::TempDir) -> Arc<dyn Store> {
    Arc::new(EmbeddedStore::open(directory.path().join("store")).unwrap())
}

fn put(writer: &RegistryWriter, name: &str) {
    writer
        .change::<_, RegistryError>(|registry| {
            registry.namespaces.put(name, namespace(name));
            Ok(())
        })
        .unwrap();
}

#[test]
fn a_change_that_fails_leaves_everything() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(&directory);
    let writer = RegistryWriter::load(Arc::clone(&store)).unwrap();
    put(&writer, "shop");
    let before = writer.snapshot().generation;
    let result = writer.change::<(), RegistryError>(|registry| {
        registry.namespaces.remove("shop");
        Err(RegistryError::Format { found: 9 })
    });
    assert!(matches!(result, Err(RegistryError::Format { found: 9 })));
    assert_eq!(writer.snapshot().generation, before);
    assert!(writer.snapshot().namespaces.get("shop").is_some());
    assert!(RegistryWriter::load(store).unwrap().snapshot().namespaces.get("shop").is_some());
}

#[test]
fn a_reload_gives_what_was_written_and_no_removed_row() {
    let directory = tempfile::tempdir().unwrap();
    {
        let writer = RegistryWriter::load(store(&directory)).unwrap();
        put(&writer, "shop");
        put(&writer, "gone");
        writer
            .change::<_, RegistryError>(|registry| {
                registry.namespaces.remove("gone");
                Ok(())
            })
            .unwrap();
    }
    let writer = RegistryWriter::load(store(&directory)).unwrap();
    let rows: Vec<_> =
        writer.snapshot().namespaces.iter().map(|(key, row)| (key.to_owned(), (**row).clone())).collect();
    assert_eq!(rows, [("shop".to_owned(), namespace("shop"))]);
}

#[test]
fn an_equal_row_is_no_change() {
    let directory = tempfile::tempdir().unwrap();
    let writer = RegistryWriter::load(store(&directory)).unwrap();
    put(&writer, "shop");
    let before = writer.snapshot().generation;
    put(&writer, "shop");
    assert_eq!(writer.snapshot().generation, before);
}

#[test]
fn a_damaged_row_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(&directory);
    let changes = vec![Change::Put { key: "namespaces/shop".into(), value: b"{".to_vec() }];
    store.commit(Transaction { conditions: Vec::new(), changes }).unwrap();
    match RegistryWriter::load(store) {
        Err(RegistryError::Row { key, .. }) => assert_eq!(key, "namespaces/shop"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_store_of_another_format_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(&directory);
    let changes = vec![Change::Put { key: "format".into(), value: b"7".to_vec() }];
    store.commit(Transaction { conditions: Vec::new(), changes }).unwrap();
    assert!(matches!(RegistryWriter::load(store), Err(RegistryError::Format { found: 7 })));
}
