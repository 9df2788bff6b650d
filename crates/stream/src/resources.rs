//! What one proxy should have, in the form in which it is sent. What proxies have in common they share.

use std::{collections::BTreeMap, sync::Arc};

use bowline_discovery::resource::{Resource, ResourceType};

/// A resource in the form in which it is sent.
#[derive(Clone, Debug, PartialEq)]
pub struct VersionedResource {
    /// Changes when, and only when, the resource does: a hash of `encoded`.
    pub version: Arc<str>,
    /// The resource.
    pub resource: Arc<Resource>,
    /// Its protobuf encoding.
    pub encoded: Arc<Vec<u8>>,
}

/// All resources of one type, by name.
pub type Kind = BTreeMap<Arc<str>, VersionedResource>;

/// Everything that one proxy should have. A clone shares all of it; a change copies the type that it is of.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ResourceSet {
    /// By type, in the order of the enum's declaration.
    kinds: [Arc<Kind>; ResourceType::ALL.len()],
}

impl ResourceSet {
    /// Without any.
    pub fn new() -> Self {
        Self::default()
    }

    /// The resource of that name.
    pub fn get(&self, kind: ResourceType, name: &str) -> Option<&VersionedResource> {
        self.of(kind).get(name)
    }

    /// Whether there is one of that name.
    pub fn contains(&self, kind: ResourceType, name: &str) -> bool {
        self.of(kind).contains_key(name)
    }

    /// All of one type. Where two sets have the same `Arc`, nothing of the type differs between them.
    pub fn of(&self, kind: ResourceType) -> &Arc<Kind> {
        &self.kinds[kind as usize]
    }

    /// All, by type and name.
    pub fn iter(&self) -> impl Iterator<Item = (ResourceType, &Arc<str>, &VersionedResource)> {
        let mut kinds = ResourceType::ALL;
        kinds.sort_unstable();
        let of = move |kind| self.of(kind).iter().map(move |(name, resource)| (kind, name, resource));
        kinds.into_iter().flat_map(of)
    }

    /// Sets one.
    pub fn insert(&mut self, kind: ResourceType, name: impl Into<Arc<str>>, resource: VersionedResource) {
        Arc::make_mut(&mut self.kinds[kind as usize]).insert(name.into(), resource);
    }

    /// Removes one.
    pub fn remove(&mut self, kind: ResourceType, name: &str) {
        if self.contains(kind, name) {
            Arc::make_mut(&mut self.kinds[kind as usize]).remove(name);
        }
    }

    /// Adds those of another set. What only one of the two has of a type is shared with it.
    pub fn add(&mut self, others: &Self) {
        for (own, other) in self.kinds.iter_mut().zip(&others.kinds) {
            add_kind(own, other);
        }
    }

    /// Takes over from `past` what was put together there, from what `before` and `others_before` had of a type, if it is
    /// what this and `others` have; and adds what `others` have of other types.
    pub fn add_as_before(&mut self, others: &Self, past: &Self, before: &Self, others_before: &Self) {
        for kind in 0..self.kinds.len() {
            let is_as_before = Arc::ptr_eq(&self.kinds[kind], &before.kinds[kind])
                && Arc::ptr_eq(&others.kinds[kind], &others_before.kinds[kind]);
            if is_as_before {
                self.kinds[kind] = Arc::clone(&past.kinds[kind]);
            } else {
                add_kind(&mut self.kinds[kind], &others.kinds[kind]);
            }
        }
    }

    /// Takes over from an earlier set what is the same there, so that whoever has that set sees at once what differs.
    pub fn share_with(&mut self, earlier: &Self) {
        for (own, other) in self.kinds.iter_mut().zip(&earlier.kinds) {
            if Arc::ptr_eq(own, other) {
                continue;
            }
            if is_same(own, other) {
                *own = Arc::clone(other);
                continue;
            }
            let shared = own.iter().map(|(name, resource)| {
                let (name, past) = other.get_key_value(name).unwrap_or((name, resource));
                let same = if past.version == resource.version { past } else { resource };
                (Arc::clone(name), same.clone())
            });
            *own = Arc::new(shared.collect());
        }
    }

    /// Whether the two share everything: then they are the same. False is no proof that they differ.
    pub fn is_shared_with(&self, other: &Self) -> bool {
        self.kinds.iter().zip(&other.kinds).all(|(own, other)| Arc::ptr_eq(own, other))
    }
}

fn add_kind(own: &mut Arc<Kind>, other: &Arc<Kind>) {
    if own.is_empty() {
        *own = Arc::clone(other);
    } else if !other.is_empty() {
        let own = Arc::make_mut(own);
        own.extend(other.iter().map(|(name, resource)| (Arc::clone(name), resource.clone())));
    }
}

/// Whether all names and versions are the same.
pub fn is_same(one: &Kind, other: &Kind) -> bool {
    one.len() == other.len()
        && one.iter().zip(other).all(|((name, resource), (other_name, other))| {
            name == other_name && resource.version == other.version
        })
}

impl<N: Into<Arc<str>>> FromIterator<((ResourceType, N), VersionedResource)> for ResourceSet {
    fn from_iter<I: IntoIterator<Item = ((ResourceType, N), VersionedResource)>>(resources: I) -> Self {
        let mut set = Self::new();
        for ((kind, name), resource) in resources {
            set.insert(kind, name, resource);
        }
        set
    }
}

#[cfg(test)]
mod tests {
    use bowline_discovery::v1;

    use super::*;

    fn cluster(name: &str, version: &str) -> ((ResourceType, String), VersionedResource) {
        let resource = Resource::Cluster(v1::Cluster { name: name.into(), ..v1::Cluster::default() });
        let encoded = Arc::new(resource.encode());
        let resource = VersionedResource { version: version.into(), resource: Arc::new(resource), encoded };
        ((ResourceType::Cluster, name.into()), resource)
    }

    #[test]
    fn what_is_the_same_is_shared_and_what_differs_is_not() {
        let before: ResourceSet = [cluster("a", "1"), cluster("b", "1")].into_iter().collect();
        let mut same: ResourceSet = [cluster("a", "1"), cluster("b", "1")].into_iter().collect();
        assert!(!same.is_shared_with(&before));
        same.share_with(&before);
        assert!(same.is_shared_with(&before));
        for other in [vec![cluster("a", "1")], vec![cluster("a", "1"), cluster("b", "2")]] {
            let mut other: ResourceSet = other.into_iter().collect();
            other.share_with(&before);
            assert!(!other.is_shared_with(&before));
        }
    }

    #[test]
    fn a_set_that_is_added_to_leaves_the_others_alone() {
        let common: ResourceSet = [cluster("a", "1")].into_iter().collect();
        let mut one = ResourceSet::new();
        one.add(&common);
        assert!(one.is_shared_with(&common));
        one.add(&[cluster("b", "1")].into_iter().collect());
        assert!(one.contains(ResourceType::Cluster, "b") && !common.contains(ResourceType::Cluster, "b"));
        one.remove(ResourceType::Cluster, "a");
        assert_eq!((one.iter().count(), common.iter().count()), (1, 1));
    }
}
