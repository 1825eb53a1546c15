//! What an operator installs: manifests, images, rights, and what the operations page promises.

mod access;
mod accounts;
mod backups;
mod configuration;
mod images;
mod installation;
mod manifests;
mod operations;
mod outages;
mod production;
mod start;
mod threats;
