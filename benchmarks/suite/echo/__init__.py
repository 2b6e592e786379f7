"""Predictors that give back what they are given, each as its framework documents it."""
