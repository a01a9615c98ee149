"""study/measuring"""
