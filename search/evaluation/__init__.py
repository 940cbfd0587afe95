"""`search evaluate`: how well one's own questions are answered on one's own photographs."""
