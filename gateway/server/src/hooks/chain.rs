//! A list of participants that is read on every message and seldom changed.

use parking_lot::RwLock;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Names one participant that was added somewhere, to take it away again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ListenerId(u64);

impl ListenerId {
    pub(crate) fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        ListenerId(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// Those of one moment.
type Items<T> = Arc<[(ListenerId, Arc<T>)]>;

/// The participants, in the order they came. Empty, it costs a relaxed load.
pub(crate) struct Chain<T: ?Sized> {
    len: AtomicUsize,
    items: RwLock<Items<T>>,
}

impl<T: ?Sized> Default for Chain<T> {
    fn default() -> Self {
        Chain { len: AtomicUsize::new(0), items: RwLock::new(Arc::new([])) }
    }
}

impl<T: ?Sized> FromIterator<Arc<T>> for Chain<T> {
    fn from_iter<I: IntoIterator<Item = Arc<T>>>(items: I) -> Self {
        let items: Arc<[_]> = items.into_iter().map(|item| (ListenerId::next(), item)).collect();
        Chain { len: AtomicUsize::new(items.len()), items: RwLock::new(items) }
    }
}

impl<T: ?Sized> Chain<T> {
    pub(crate) fn any(&self) -> bool {
        self.len.load(Ordering::Relaxed) > 0
    }

    /// Those of this moment: nothing is locked while they are called.
    pub(crate) fn all(&self) -> Items<T> {
        Arc::clone(&self.items.read())
    }

    /// Calls each, if there are any.
    pub(crate) fn each(&self, mut f: impl FnMut(&T)) {
        if self.any() {
            self.all().iter().for_each(|(_, item)| f(item));
        }
    }

    pub(crate) fn add(&self, item: Arc<T>) -> ListenerId {
        let id = ListenerId::next();
        self.change(|items| items.push((id, item)));
        id
    }

    pub(crate) fn remove(&self, id: ListenerId) -> bool {
        let mut found = false;
        self.change(|items| {
            let before = items.len();
            items.retain(|(other, _)| *other != id);
            found = items.len() < before;
        });
        found
    }

    fn change(&self, f: impl FnOnce(&mut Vec<(ListenerId, Arc<T>)>)) {
        let mut items = self.items.write();
        let mut changed = items.to_vec();
        f(&mut changed);
        self.len.store(changed.len(), Ordering::Relaxed);
        *items = changed.into();
    }
}
