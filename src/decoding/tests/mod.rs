//! Decoding on scripted logits: against what openai/whisper made of the same, against a plain
//! version of every rule, and on input that no sound model gives.

mod broken;
mod feed;
mod gates;
mod golden;
mod penalties;
mod phrases;
mod plain;
mod rules;
mod sampling;
mod script;
mod search;
