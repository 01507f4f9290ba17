//! What every stage shares: the keyed queue (pure), the actor shell that feeds it from the bus,
//! and the view of Applications. Knows nothing of git, Kubernetes or what a stage does.
pub(crate) mod follow;
pub(crate) mod keyed;
pub(crate) mod stage;
