//! Tasks that nobody forgets.

/// A task that ends when this is dropped.
pub(super) struct Abort<T>(pub(super) tokio::task::JoinHandle<T>);

impl<T> Drop for Abort<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl<T> Abort<T> {
    /// Ends the task and waits until it is dropped: what it had started is with the janitor then.
    pub(super) async fn end<U>(&mut self, end: U) -> U {
        self.0.abort();
        let _ = (&mut self.0).await;
        end
    }
}
