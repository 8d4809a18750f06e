"""What every search shares: fronts of what cannot be had both ways, and giving more to those who do well on little."""
