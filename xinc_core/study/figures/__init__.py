"""study/figures"""
