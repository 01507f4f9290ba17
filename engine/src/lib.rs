//! The pure core: the nouns of GitOps and the decisions about them. No IO, no clock, no async, no randomness.
//!
//! In the order of the pipeline: [`app`], [`source`], [`project`] and [`resource`] are the nouns; [`validate`] asks whether an
//! Application may be; [`select`] and [`parse`] turn files into manifests; [`scope`] leaves out what is excluded; [`tracking`]
//! marks them; [`diff`] compares,
//! but for what [`ignore`] leaves out; [`health`] judges, by the scripts of [`lua`] too; [`automation`] decides,
//! [`requests`] does so for users, and [`windows`] says when; [`hook`], [`options`] and [`plan`] order, [`progress`] and
//! [`retry`] lead an operation through its plan; [`deletion`] takes an Application away; [`tree`] shows, with
//! what nobody tracks ([`orphan`]); [`updates`] tells which changes count; [`actions`]
//! are what users may do to one object. [`apply`] is what is sent, [`schema`] what is known of built-in kinds. [`repository`]
//! knows whose credentials a URL gets, [`trust`] whom an installation trusts, [`integrity`] what must be signed.
//! [`webhook`] tells what was pushed and who follows it. [`glob`], [`cron`], [`duration`], [`versions`] and [`repo_url`]
//! read what Go reads.
//! [`problem`] is the table of what users are told.
#[macro_use]
mod shape;

pub mod actions;
pub mod app;
pub mod apply;
pub mod automation;
pub mod cron;
mod customizations;
pub mod deletion;
pub mod diff;
pub mod duration;
pub mod glob;
pub mod health;
pub mod hook;
pub mod ignore;
pub mod integrity;
pub mod lua;
pub mod managed_fields;
mod merge;
pub mod options;
pub mod orphan;
pub mod parse;
pub mod plan;
pub mod problem;
pub mod progress;
pub mod project;
mod quantity;
pub mod repo_url;
pub mod repository;
pub mod requests;
pub mod resource;
pub mod retry;
pub mod schema;
pub mod scope;
pub mod select;
pub mod source;
pub mod tracking;
pub mod tree;
pub mod trust;
mod typed;
pub mod updates;
pub mod validate;
pub mod versions;
pub mod webhook;
pub mod windows;
