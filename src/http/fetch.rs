//! TODO(skeleton).

use super::AppState;
use axum::Router;

/// This module's routes.
pub fn routes() -> Router<AppState> {
    Router::new()
}
