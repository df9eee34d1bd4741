//! End-to-end tests: the real binaries over a real port, with the real small model and real dictionaries.
//!
//! `./test` prepares what they need and runs them. One file a topic; what is prepared is in the crate's library.

mod access;
mod adapters;
mod anchors;
mod attribution;
mod chat;
mod cli;
mod crash;
mod database;
mod documents;
mod evaluations;
mod jwt;
mod lane_service;
mod lanes;
mod limits;
mod many;
mod models;
mod openapi;
mod operations;
mod policy;
mod proof;
mod records;
mod replicas;
mod retrieval;
mod sdk;
mod sign_in;
mod terms;
mod training;
mod training_cli;
mod training_faults;
mod training_rights;
