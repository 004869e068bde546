//! Policy + Deployment -> plan.
