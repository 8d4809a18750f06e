"""Trainers that need no gradient loop: boosted trees and linear models on tables."""
