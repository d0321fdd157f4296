"""What a forward pass does: calls intercepted, modules traced, the plan made from them."""
