//! The pure core: the nouns of GitOps and the decisions about them. No IO, no clock, no async, no randomness.
//!
//! In the order of the pipeline: [`app`] and [`resource`] are the nouns; [`select`] and [`parse`] turn files into
//! manifests; [`scope`] leaves out what is excluded; [`tracking`] marks them; [`diff`] compares, but for what [`ignore`] leaves out; [`health`] judges; [`automation`] decides; [`hook`], [`options`] and [`plan`] order,
//! [`progress`] and [`retry`] lead an operation through its plan;
//! [`tree`] shows, with what nobody tracks ([`orphan`]); [`updates`] tells which changes count. [`problem`] is the table of what users are told.
pub mod app;
pub mod automation;
pub mod diff;
pub mod duration;
pub mod health;
pub mod hook;
pub mod ignore;
pub mod options;
pub mod orphan;
pub mod parse;
pub mod plan;
pub mod problem;
pub mod progress;
pub mod resource;
pub mod retry;
pub mod scope;
pub mod select;
pub mod tracking;
pub mod tree;
pub mod updates;
