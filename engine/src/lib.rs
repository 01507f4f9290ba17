//! The pure core: the nouns of GitOps and the decisions about them. No IO, no clock, no async, no randomness.
//!
//! In the order of the pipeline: [`app`] and [`resource`] are the nouns; [`select`] and [`parse`] turn files into
//! manifests; [`tracking`] marks them; [`diff`] compares, but for what [`ignore`] leaves out; [`health`] judges; [`automation`] decides; [`hook`], [`options`] and [`plan`] order,
//! [`progress`] and [`retry`] lead an operation through its plan;
//! [`tree`] shows. [`problem`] is the table of what users are told.
pub mod app;
pub mod apply;
pub mod automation;
pub mod diff;
pub mod duration;
pub mod health;
pub mod hook;
pub mod ignore;
mod merge;
pub mod options;
pub mod parse;
pub mod plan;
pub mod problem;
pub mod progress;
mod quantity;
pub mod resource;
pub mod retry;
pub mod schema;
pub mod select;
pub mod tracking;
pub mod tree;
mod typed;
