//! What every stage shares: the keyed queue (pure), the actor shell that feeds it from the bus,
//! the view of Applications, and the planned failure points. Knows nothing of git, Kubernetes or what a stage does.
pub(crate) mod fault;
pub(crate) mod follow;
pub(crate) mod keyed;
pub(crate) mod stage;
