"""study/series"""
