//! The slices of one Service, as the events of a watch tell them.

use std::collections::BTreeMap;

use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::runtime::watcher::Event;

use crate::topology::MAX_SLICES;

/// The slices by name.
#[derive(Debug, Default)]
pub(super) struct Kept {
    slices: BTreeMap<String, EndpointSlice>,
    /// A list on its way in; until it is whole, what was there before counts.
    listing: Option<BTreeMap<String, EndpointSlice>>,
    complete: bool,
}

impl Kept {
    /// Takes in an event; whether the slices may have changed.
    pub(super) fn take_in(&mut self, event: Event<EndpointSlice>) -> bool {
        match event {
            Event::Init => {
                self.listing = Some(BTreeMap::new());
                false
            }
            Event::InitApply(slice) => {
                insert(self.listing.get_or_insert_default(), slice);
                false
            }
            Event::InitDone => {
                self.slices = self.listing.take().unwrap_or_default();
                self.complete = true;
                true
            }
            Event::Apply(slice) => {
                insert(&mut self.slices, slice);
                true
            }
            Event::Delete(slice) => {
                slice.metadata.name.is_some_and(|name| self.slices.remove(&name).is_some())
            }
        }
    }

    /// Whether a whole list was there once.
    pub(super) fn complete(&self) -> bool {
        self.complete
    }

    pub(super) fn slices(&self) -> impl Iterator<Item = &EndpointSlice> {
        self.slices.values()
    }
}

/// Keeps a slice, within the bound; who wrote which field is of no use here and often longer than the rest.
fn insert(slices: &mut BTreeMap<String, EndpointSlice>, mut slice: EndpointSlice) {
    slice.metadata.managed_fields = None;
    let name = slice.metadata.name.clone().unwrap_or_default();
    if slices.len() < MAX_SLICES || slices.contains_key(&name) {
        slices.insert(name, slice);
    } else {
        tracing::warn!(slice = name, "a Service has more than {MAX_SLICES} slices; this one is not used");
    }
}
