//! An answer that is there, or will be.

use std::future::{Future, IntoFuture, Ready, ready};
use std::pin::Pin;
use std::task::{Context, Poll};

/// A boxed future.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// An answer that is known now, which costs nothing, or one that takes its time.
///
/// ```
/// # use bayeux_server::hooks::Eventually;
/// fn allowed(name: &str) -> Eventually<'_, bool> {
///     match name {
///         "root" => true.into(),
///         _ => Eventually::later(async move { name.len() > 3 }), // a database knows
///     }
/// }
/// # tokio_test(async { assert!(allowed("alice").await && allowed("root").await) });
/// # fn tokio_test(f: impl std::future::Future) { tokio::runtime::Runtime::new().unwrap().block_on(f); }
/// ```
pub enum Eventually<'a, T> {
    /// Known.
    Now(T),
    /// Will be known.
    Later(BoxFuture<'a, T>),
}

impl<'a, T> Eventually<'a, T> {
    /// What the future will say.
    pub fn later(future: impl Future<Output = T> + Send + 'a) -> Self {
        Eventually::Later(Box::pin(future))
    }
}

impl<T> From<T> for Eventually<'_, T> {
    fn from(answer: T) -> Self {
        Eventually::Now(answer)
    }
}

impl<'a, T> IntoFuture for Eventually<'a, T> {
    type Output = T;
    type IntoFuture = Waiting<'a, T>;

    fn into_future(self) -> Waiting<'a, T> {
        match self {
            Eventually::Now(answer) => Waiting::Now(ready(answer)),
            Eventually::Later(future) => Waiting::Later(future),
        }
    }
}

/// The future of an [`Eventually`].
pub enum Waiting<'a, T> {
    /// Known.
    Now(Ready<T>),
    /// Will be known.
    Later(BoxFuture<'a, T>),
}

impl<T> Future for Waiting<'_, T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        match self.get_mut() {
            Waiting::Now(ready) => Pin::new(ready).poll(cx),
            Waiting::Later(future) => future.as_mut().poll(cx),
        }
    }
}
