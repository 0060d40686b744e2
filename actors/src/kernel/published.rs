//! What an actor shows of itself: readers take the last published value and ask no worker.

use std::sync::Arc;

use parking_lot::RwLock;

/// A value that one actor replaces and anybody reads.
#[derive(Debug)]
pub struct Published<T>(Arc<RwLock<Arc<T>>>);

impl<T> Published<T> {
    /// Publishes a first value.
    pub fn new(value: T) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(value))))
    }

    /// Replaces the value.
    pub fn set(&self, value: T) {
        let value = Arc::new(value);
        let old = std::mem::replace(&mut *self.0.write(), value);
        drop(old);
    }

    /// The last published value.
    pub fn get(&self) -> Arc<T> {
        self.0.read().clone()
    }
}

impl<T> Clone for Published<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T: Default> Default for Published<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}
